"""What each tenant has in flight and has used: its own limits, and how many tenants share the engine now."""

from collections.abc import Iterator
from dataclasses import dataclass

from serving.admission.tickets import Limits

ACTIVE_S = 30.0  # a tenant counts as one of those who share the engine this long after it last came
MINUTE_S = 60.0


@dataclass
class Account:
    """One tenant. `spent` tokens leak away at its rate: a bucket one minute deep (the GCRA of ITU-T I.371 in tokens)."""

    seen_s: float = 0.0
    in_flight: int = 0
    weight: float = 1.0
    spent: float = 0.0
    spent_at_s: float = 0.0

    def leak(self, per_minute: float, now_s: float) -> None:
        self.spent = max(0.0, self.spent - (now_s - self.spent_at_s) * per_minute / MINUTE_S)
        self.spent_at_s = now_s


class Accounts:
    """`share` is this replica's part of a tenant's limits (see `replicas.py`)."""

    def __init__(self) -> None:
        self.share = 1.0
        self._accounts: dict[str, Account] = {}

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

    def _active(self, now_s: float) -> Iterator[tuple[str, Account]]:
        return ((name, each) for name, each in self._accounts.items() if each.in_flight or now_s - each.seen_s <= ACTIVE_S)

    def forget_idle(self, now_s: float) -> None:
        """Drop tenants that have nothing in flight and were not here for two minutes: a full bucket has leaked by then."""
        for name in [
            name for name, each in self._accounts.items() if not each.in_flight and now_s - each.seen_s > 2 * MINUTE_S
        ]:
            del self._accounts[name]
