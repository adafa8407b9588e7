"""What each tenant has in flight and has used: its own limits, and how many tenants share the engine now."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from serving.admission.tickets import Limits

ACTIVE_S = 30.0  # a tenant counts as one of those who share the engine this long after it last came
MINUTE_S = 60.0
LATELY_S = 5.0  # a turn counts as one of the last ones for about as long


@dataclass
class Lately:
    """A count that fades: each counts for 1/e after LATELY_S."""

    count: float = 0.0
    at_s: float = 0.0

    def now(self, now_s: float) -> float:
        return self.count * math.exp((self.at_s - now_s) / LATELY_S)

    def one_more(self, now_s: float) -> None:
        self.count, self.at_s = self.now(now_s) + 1, now_s


@dataclass
class Account:
    """One tenant. `turns` are those let in lately. `spent` tokens leak away at its rate: a bucket one minute deep (the GCRA of
    ITU-T I.371 in tokens)."""

    seen_s: float = 0.0
    in_flight: int = 0
    weight: float = 1.0
    spent: float = 0.0
    spent_at_s: float = 0.0
    turns: Lately = field(default_factory=Lately)

    def leak(self, per_minute: float, now_s: float) -> None:
        self.spent = max(0.0, self.spent - (now_s - self.spent_at_s) * per_minute / MINUTE_S)
        self.spent_at_s = now_s


class Accounts:
    """`share` is this replica's part of a tenant's limits (see `replicas.py`)."""

    def __init__(self) -> None:
        self.share = 1.0
        self._accounts: dict[str, Account] = {}
        self._turns = Lately()

    def take_share(self, share: float) -> None:
        self.share = share

    def of(self, tenant: str) -> Account:
        return self._accounts.setdefault(tenant, Account())

    def seen(self, tenant: str, weight: float, now_s: float) -> Account:
        account = self.of(tenant)
        account.seen_s, account.weight = now_s, weight
        return account

    def dry_s(self, tenant: str, limits: Limits, tokens: float, now_s: float) -> float:
        """Seconds until the tenant may spend `tokens` more; 0 when it may now. A piece larger than a whole minute's worth
        may go when the bucket is empty."""
        if limits.tokens_per_minute is None:
            return 0.0
        account, rate = self.of(tenant), max(limits.tokens_per_minute * self.share, 1e-9)
        account.leak(rate, now_s)
        return max(0.0, (account.spent + min(tokens, rate) - rate) / rate * MINUTE_S)

    def spend(self, tenant: str, limits: Limits, tokens: float, now_s: float) -> None:
        """`tokens` more, or fewer when negative: the estimate is corrected at the end."""
        if limits.tokens_per_minute is not None:
            account = self.of(tenant)
            account.leak(limits.tokens_per_minute * self.share, now_s)
            account.spent = max(0.0, account.spent + tokens)

    def most_in_flight(self, limits: Limits) -> float:
        """A tenant's own bound on this replica, at least one turn."""
        return float("inf") if limits.turns_in_flight is None else max(1.0, round(limits.turns_in_flight * self.share))

    def fair_part(self, tenant: str, now_s: float) -> float:
        """A tenant's part (0 to 1) of what all tenants active now share, by weight."""
        mine = self.of(tenant).weight
        return mine / (mine + sum(each.weight for name, each in self._active(now_s) if name != tenant))

    def let_in(self, tenant: str, now_s: float) -> None:
        account = self.of(tenant)
        account.in_flight += 1
        for turns in (account.turns, self._turns):
            turns.one_more(now_s)

    def turns_per_s(self, tenant: str, now_s: float) -> float:
        """How many of its turns a second were let in lately."""
        return self.of(tenant).turns.now(now_s) / LATELY_S

    def floods(self, tenant: str, times: float, now_s: float) -> bool:
        """Whether a tenant took more than `times` its fair part of the turns let in lately; or, where that part is large, more
        than it and half of what it leaves. One that is alone never does."""
        taken = self.of(tenant).turns.now(now_s) / max(self._turns.now(now_s), 1e-9)
        part = self.fair_part(tenant, now_s)
        return taken > min(times * part, (1 + part) / 2)

    def _active(self, now_s: float) -> Iterator[tuple[str, Account]]:
        return ((name, each) for name, each in self._accounts.items() if each.in_flight or now_s - each.seen_s <= ACTIVE_S)

    def forget_idle(self, now_s: float) -> None:
        """Drop tenants that have nothing in flight and were not here for two minutes: a full bucket has leaked by then."""
        for name in [
            name for name, each in self._accounts.items() if not each.in_flight and now_s - each.seen_s > 2 * MINUTE_S
        ]:
            del self._accounts[name]
