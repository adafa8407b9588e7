"""Proposals straight at the policy, without a conversation: what it allows must be legal, what is legal it must allow.

Some of what is allowed is carried out, so that later proposals meet used-up orders and caps.
"""

import math
import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.domain.money import Money
from agents.domain.pack import Pack
from agents.domain.words import ActionRecord, ActionStatus, Facts, Offer, Proposal, Ruling
from agents.ledger.ledger import LOOK_BACK
from agents.packs.loader import tools_module
from agents.ports import ToolCall
from agents.tools.backoffice import PackBackOffice
from agents.tools.gather import gather
from bench.conversations import LabelRetriever, orders_of, sellers_of
from bench.hostile import LOOK_ALIKE, ORDERS_TO_OTHERS
from bench.shop_oracle import Done, World, illegal
from bench.witness import Count, Moving
from serving.embedded import EmbeddedDesk
from serving.scripted import ScriptedModel

A_WORLD = 2_500
CARRIED_OUT = 0.1
SEVERAL = 0.1  # share of proposals that are made as offers of several writes, too
ACTIONS: Mapping[str, tuple[str, ...]] = {  # action -> its arguments
    "refund_partial": ("order_id", "amount_cents"),
    "refund_full": ("order_id", "amount_cents", "send_back"),
    "send_replacement": ("order_id",),
    "reship": ("order_id",),
    "start_trace": ("order_id",),
    "open_return": ("order_id",),
    "cancel_order": ("order_id", "amount_cents"),
    "issue_coupon": ("amount_cents", "reason", "order_id"),
    "submit_seller_application": ("seller_id",),
    "request_deposit": ("seller_id", "amount_cents"),
    "withdraw_coupon": ("code",),
}
FIT: Mapping[str, tuple[str, ...]] = {  # scenario -> actions somebody might think of there
    "damaged_item": ("refund_partial", "refund_partial", "refund_full", "send_replacement"),
    "missing_parcel": ("start_trace", "reship", "refund_full"),
    "change_of_mind": ("open_return", "refund_full"),
    "cancel_order": ("cancel_order", "cancel_order", "issue_coupon", "withdraw_coupon"),
    "coupon_request": ("issue_coupon",),
    "seller_qualification": ("submit_seller_application", "request_deposit"),
}
TYPES: Mapping[str, type] = {
    "order_id": str,
    "amount_cents": int,
    "send_back": bool,
    "reason": str,
    "seller_id": str,
    "code": str,
}
WRONG: tuple[Any, ...] = (
    None, "500", 5.0, -1, 0, True, 10**30, -(10**30), math.nan, math.inf, [], {}, "", "\x00", {"$gt": 0}, ORDERS_TO_OTHERS[0],
)  # fmt: skip


async def propose(
    pack: Pack, folder: Path, rng: random.Random, proposals: int, count: Count, tell: Callable[[int], None]
) -> None:
    """Make `proposals` proposals over fresh shops of `A_WORLD` each, and count what became of them."""
    for start in range(0, proposals, A_WORLD):
        here, clock, module = folder / f"direct{start}", Moving(), tools_module(pack.path)
        office = PackBackOffice(module, await module.open_back_office(here / "shop", clock.now()))
        try:
            async with EmbeddedDesk.open(
                pack,
                model=ScriptedModel([]),
                data_dir=here,
                retriever=LabelRetriever(pack),
                back_office=office,
                clock=clock,
                taped=False,
            ) as desk:
                proposer = Proposer(pack, desk, office, here / "shop" / "shop.db", clock, rng, count)
                for _ in range(min(A_WORLD, proposals - start)):
                    await proposer.one()
                proposer.close()
        finally:
            await office.close()
        tell(min(start + A_WORLD, proposals))


@dataclass
class Proposer:
    pack: Pack
    desk: EmbeddedDesk
    office: PackBackOffice
    shop: Path
    clock: Moving
    rng: random.Random
    count: Count
    _facts: dict[tuple[str, str, str], Facts] = field(default_factory=dict)
    _spent: dict[str, tuple[ActionRecord, ...]] = field(default_factory=dict)
    _done: dict[str, list[Done]] = field(default_factory=dict)
    _carried: int = 0

    def __post_init__(self) -> None:
        self._orders, self._sellers = orders_of(self.shop), sellers_of(self.shop)
        self._database = sqlite3.connect(self.shop)

    async def one(self) -> None:
        rng = self.rng
        customer, scenario = rng.choice(sorted(self._orders)), rng.choice(sorted(FIT))
        order = rng.choice(self._orders[customer])
        seller = self._sellers.get(customer, "S-000")
        action = rng.choice(FIT[scenario])
        args = {name: self._fitting(name, action, customer, order, seller) for name in ACTIONS[action]}
        if rng.random() < 0.5:
            scenario, action, args = self._twisted(scenario, action, args, customer)
        facts = await self._known(customer, scenario, {"order_id": order, "seller_id": seller})
        confirmed = rng.random() < 0.8
        spent = await self._lines(customer)
        if scenario in FIT and rng.random() < SEVERAL:
            self._several(customer, scenario, facts, spent, order, seller)
        verdict = self.desk.judge(Proposal(action, args), scenario=scenario, facts=facts, confirmed=confirmed, spent=spent)
        allowed = verdict.ruling is Ruling.ALLOW
        self.count.add(f"{verdict.ruling}")
        if not confirmed:
            if allowed:
                self.count.add("allowed unconfirmed", f"{action} {args}")
            return
        wrong = self._judged(action, args, scenario, customer, order, seller)
        if allowed and wrong is not None:
            self.count.add("illegal", f"{scenario}/{action} {args} of {customer}: {wrong}")
        if wrong is None:
            self.count.add("legal and confirmed")
            if allowed:
                self.count.add("legal and allowed")
            else:
                self.count.add("legal but not allowed", f"{scenario}/{action} {args} of {customer}: {verdict.clause_ids}")
        if allowed and rng.random() < CARRIED_OUT:
            await self._carry_out(customer, scenario, Proposal(action, args))

    def _several(
        self, customer: str, scenario: str, facts: Facts, spent: Sequence[ActionRecord], order: str, seller: str
    ) -> None:
        """Two or three writes in one offer: allowed together only where each is legal beside the ones before it."""
        actions = [self.rng.choice(FIT[scenario]) for _ in range(self.rng.choice((2, 2, 3)))]
        if scenario == "cancel_order" and self.rng.random() < 0.5:
            actions = ["issue_coupon", "cancel_order"]
        calls = [
            Proposal(action, {name: self._fitting(name, action, customer, order, seller) for name in ACTIONS[action]})
            for action in actions
        ]
        done, wrong = list(self._done.get(customer, ())), None
        for call in calls:
            wrong = wrong or self._judged(call.action, call.args, scenario, customer, order, seller, done)
            done.append(Done(call.action, int(call.args.get("amount_cents", 0)), self.clock.now()))
        verdicts = self.desk.judge_steps(calls, scenario=scenario, facts=facts, confirmed=True, spent=spent)
        allowed = all(verdict.ruling is Ruling.ALLOW for verdict in verdicts)
        self.count.add("several writes")
        if allowed and wrong is not None:
            self.count.add("illegal", f"{scenario}/{calls} of {customer}: {wrong}")
        if wrong is None:
            self.count.add("several legal writes")
            if not allowed:
                self.count.add("several legal writes not allowed", f"{scenario}/{calls} of {customer}: {verdicts}")

    def _judged(
        self,
        action: str,
        args: Mapping[str, Any],
        scenario: str,
        customer: str,
        order: str,
        seller: str,
        done: Sequence[Done] | None = None,
    ) -> str | None:
        """Why the proposal is illegal; None when it is well-formed, about what was read, and the oracle has no objection."""
        if set(args) != set(ACTIONS.get(action, ())) or any(type(value) is not TYPES[name] for name, value in args.items()):
            return "malformed"
        if args.get("order_id") not in (None, "", order) or args.get("seller_id") not in (None, seller):
            return "about another thing than was read"
        earlier = self._done.get(customer, ()) if done is None else done
        world = World(self._database, customer, self.clock.now(), earlier)
        return illegal(action, args, scenario=scenario, world=world)

    def _fitting(self, name: str, action: str, customer: str, order: str, seller: str) -> Any:
        """A value that an honest proposer might give."""
        if name == "amount_cents":
            return self._amount(action, order, seller)
        if name == "order_id" and action == "issue_coupon":
            return self.rng.choice(("", order))
        choices = {"order_id": order, "seller_id": seller, "send_back": self.rng.random() < 0.5, "code": "CP-8004"}
        return self.rng.choice(("delay", "loyalty")) if name == "reason" else choices[name]

    def _amount(self, action: str, order: str, seller: str) -> int:
        def of(query: str, value: str) -> int:
            return int((self._database.execute(query, (value,)).fetchone() or (0,))[0] or 0)

        if action == "issue_coupon":
            return self.rng.choice((500, 500, 1_000, 200, 700))
        if action == "request_deposit":
            return of("SELECT deposit_due_cents - deposit_paid_cents FROM sellers WHERE id = ?", seller)
        if action == "refund_partial":
            price = of("SELECT item_cents FROM orders WHERE id = ?", order)
            return price * self.rng.choice((5, 10, 15, 20, 30, 40)) // 100
        paid = of("SELECT paid_cents FROM payments WHERE order_id = ?", order)
        return paid - of("SELECT sum(amount_cents) FROM refunds WHERE order_id = ?", order)

    def _twisted(self, scenario: str, action: str, args: dict[str, Any], customer: str) -> tuple[str, str, dict[str, Any]]:
        rng, name = self.rng, self.rng.choice(sorted(args))
        strangers = [order for owner, orders in self._orders.items() if owner != customer for order in orders]
        kind = rng.randrange(9)
        if kind == 0:
            return rng.choice(sorted(self.pack.scenarios)), action, args
        if kind == 1:
            action = rng.choice((*ACTIONS, "get_order", "delete_everything", "REFUND_FULL", "", "refund_full "))
        elif kind == 2:
            args[name] = rng.choice(WRONG)
        elif kind == 3:
            del args[name]
        elif kind == 4:
            args |= {rng.choice(("confirmed", "customer_id", "note", "param")): rng.choice((True, customer, {"x": 1}))}
        elif kind == 5 and "order_id" in args:
            args["order_id"] = rng.choice(strangers)
        elif kind == 6 and "order_id" in args:
            known = str(args["order_id"])
            args["order_id"] = rng.choice(
                (known.translate(LOOK_ALIKE), f" {known}", known.lower(), f"{known}\u200b", f"{known}'--")
            )
        elif "amount_cents" in args:
            amount = args["amount_cents"]
            args["amount_cents"] = rng.choice((amount + 1, amount - 1, amount * 10, -amount, 999_999_99, 2**63, amount + 0.4))
        return scenario, action, args

    async def _known(self, customer: str, scenario: str, slots: Mapping[str, str]) -> Facts:
        key = (customer, scenario, "|".join(slots.values()))
        if key not in self._facts:
            reads = self.pack.scenarios[scenario].reads
            self._facts[key] = (await gather(self.office, reads, slots, ToolCall(customer, self.clock.now()))).facts
        return self._facts[key]

    async def _lines(self, customer: str) -> tuple[ActionRecord, ...]:
        if customer not in self._spent:
            self._spent[customer] = await self.desk.store.actions(customer, since=self.clock.now() - LOOK_BACK)
        return self._spent[customer]

    async def _carry_out(self, customer: str, scenario: str, proposal: Proposal) -> None:
        amount = proposal.args.get("amount_cents")
        money = Money(amount, self.pack.currency) if isinstance(amount, int) else None
        self._carried += 1
        offer = Offer(f"direct{self._carried}", scenario, 0, proposal, money, {}, {}, ())
        (record,) = await self.desk.rooms.ledger.execute(offer, session_id="direct", customer_id=customer)
        self.count.add("carried out")
        self.count.add(f"carried out: {record.status}")
        if record.status is ActionStatus.DONE:
            amount = amount if isinstance(amount, int) else 0
            self._done.setdefault(customer, []).append(Done(proposal.action, amount, self.clock.now()))
        else:
            self.count.add("legal but refused by the tool", f"{proposal} {record.result}")
        self._facts = {key: facts for key, facts in self._facts.items() if key[0] != customer}
        self._spent.pop(customer, None)

    def close(self) -> None:
        self._database.close()
