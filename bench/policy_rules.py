"""Synthetic rule sets and requests by seed, in one neutral description: our CEL and the peers' languages are made from it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agents.domain.pack import Pack
from agents.domain.words import ActionRecord, ActionStatus, Clause, Effect, Proposal

ANY = "*"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ACTIONS = tuple(f"action_{n}" for n in range(10))
LEDGER_LINES = 20  # of the customer, at every verdict
CLAUSES_A_SCENARIO = 37  # scenarios grow with the rule set: about 30 clauses then apply to one action in one of them
UNIVERSAL = 20  # clauses that hold for every scenario, however many there are
NUMBERS = {  # field -> its largest value; requests draw uniformly
    "order.total_cents": 40_000, "order.item_cents": 20_000, "order.delivered_days_ago": 60, "order.ordered_days_ago": 90,
    "customer.member_days": 2_000, "customer.delivered_orders": 80, "customer.late_days": 20, "parcel.late_days": 30,
    "parcel.silent_days": 20, "payment.refundable_cents": 40_000, "refunds.count": 5, "refunds.total_cents": 30_000,
    "coupons.active": 6, "coupons.week_cents": 5_000, "damage.photos": 6, "seller.rating": 100, "args.amount_cents": 15_000,
}  # fmt: skip
WORDS = {
    "order.status": ("unpaid", "paid", "packed", "shipped", "delivered", "cancelled"),
    "order.category": ("fashion", "food", "digital", "custom", "hygiene", "home", "garden", "toys"),
    "customer.tier": ("standard", "plus", "business"),
    "parcel.status": ("none", "in_transit", "delivered", "lost", "returned"),
    "payment.method": ("card", "transfer", "wallet", "voucher"),
    "seller.state": ("draft", "in_review", "approved", "suspended"),
    "args.reason": ("damage", "delay", "loyalty", "wrong_item"),
}
FLAGS = ("order.in_stock", "order.return_open", "order.sent_again", "customer.verified", "parcel.signed", "args.send_back")
STEPS = 10  # parameters of a number field: its tenths
PARAMETERS: dict[str, Any] = {
    **{f"{name.replace('.', '_')}_{n}": most * n // STEPS for name, most in NUMBERS.items() for n in range(1, STEPS)},
    **{f"some_{name.replace('.', '_')}": list(words[: len(words) // 2]) for name, words in WORDS.items()},
    "partial_percent": 60,
}
_FLIPPED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(frozen=True, slots=True)
class Name:
    """A field of a fact, `args` or `param`, or `confirmed`."""

    path: str


@dataclass(frozen=True, slots=True)
class Reckoned:
    """`left operator right`, the operator + or *."""

    left: "Operand"
    operator: str
    right: "Operand"


Operand = Name | Reckoned | int | str


@dataclass(frozen=True, slots=True)
class Is:
    """A boolean name is `wanted`."""

    name: Name
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Compare:
    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True, slots=True)
class Among:
    """`name` is, or is not, one of the list that is the parameter `listed`."""

    name: Name
    listed: Name
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Every:
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple["Condition", ...]


Condition = Is | Compare | Among | Every | Some


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule in no language yet. `limits` of a cap: amount_cents, count, window_days."""

    id: str
    scenarios: tuple[str, ...]
    effect: Effect
    actions: tuple[str, ...]
    when: Condition
    limits: Mapping[str, Name | int]

    def applies(self, scenario: str, action: str) -> bool:
        return bool({ANY, scenario} & set(self.scenarios)) and bool({ANY, action} & set(self.actions))


@dataclass(frozen=True, slots=True)
class Request:
    """One proposed action and everything its verdict reads."""

    scenario: str
    proposal: Proposal
    facts: Mapping[str, Mapping[str, Any]]
    confirmed: bool
    spent: tuple[ActionRecord, ...]


def negated(condition: Condition) -> Condition:
    """The opposite, with the negation pushed into the comparisons: none of the three languages needs a `not`."""
    match condition:
        case Is(name, wanted):
            return Is(name, not wanted)
        case Among(name, listed, wanted):
            return Among(name, listed, not wanted)
        case Compare(left, operator, right):
            return Compare(left, _FLIPPED[operator], right)
        case Every(parts):
            return Some(tuple(negated(part) for part in parts))
        case Some(parts):
            return Every(tuple(negated(part) for part in parts))


def pack_of(rules: list[Rule]) -> Pack:
    """The rules as a pack in memory: clauses whose conditions are CEL."""
    clauses = tuple(
        Clause(rule.id, rule.scenarios, rule.effect, rule.actions, cel(rule.when), {k: _cel(v) for k, v in rule.limits.items()},
               {}, {})
        for rule in rules
    )  # fmt: skip
    return Pack(
        name="bench", path=Path(), digest="", locales=("en",), currency="EUR", timezone="UTC", parameters=PARAMETERS,
        handoff_owner="", handoff_due_minutes=0, texts={}, slots={}, scenarios={}, ladders={}, clauses=clauses, exemplars=(),
    )  # fmt: skip


def cel(condition: Condition) -> str:
    """The condition in the Common Expression Language."""
    match condition:
        case Is(name, wanted):
            return name.path if wanted else f"!{name.path}"
        case Among(name, listed, wanted):
            return f"{name.path} in {listed.path}" if wanted else f"!({name.path} in {listed.path})"
        case Compare(left, operator, right):
            return f"{_cel(left)} {operator} {_cel(right)}"
        case Every(parts):
            return "(" + " && ".join(map(cel, parts)) + ")"
        case Some(parts):
            return "(" + " || ".join(map(cel, parts)) + ")"


def _cel(operand: Operand) -> str:
    match operand:
        case Name(path):
            return path
        case Reckoned(left, operator, right):
            return f"{_cel(left)} {operator} {_cel(right)}"
        case str():
            return f'"{operand}"'
        case int():
            return str(operand)


def rule_set(clauses: int, rng: random.Random, *, one_place: bool = False) -> list[Rule]:
    """`clauses` rules. `one_place`: the worst case, where every one of them applies to every request."""
    scenarios = scenarios_of(clauses, one_place=one_place)
    rules = []
    for n in range(clauses):
        effect = rng.choices(tuple(Effect), (27, 55, 8, 10))[0]
        universal = n < UNIVERSAL
        where = (ANY,) if universal else tuple(rng.sample(scenarios, min(len(scenarios), rng.choice((1, 1, 1, 2)))))
        what = (ANY,) if one_place or rng.random() < 0.2 else tuple(rng.sample(ACTIONS, rng.randint(1, 4)))
        limits = _limits(rng) if effect is Effect.CAP else {}
        rules.append(Rule(f"c{n:05d}", where, effect, what, _condition(effect, rng), limits))
    return rules


def scenarios_of(clauses: int, *, one_place: bool = False) -> tuple[str, ...]:
    return tuple(f"scenario_{n}" for n in range(1 if one_place else max(1, clauses // CLAUSES_A_SCENARIO)))


def _condition(effect: Effect, rng: random.Random) -> Condition:
    """Made so that some requests pass: forbids are rare cases, requirements mostly hold, permits hold for one in four."""
    match effect:
        case Effect.PERMIT:
            parts = (_half(rng), _half(rng), *((Is(Name("confirmed")),) if rng.random() < 0.1 else ()))
            return Every(parts)
        case Effect.FORBID:
            return Every((_tail(rng), _tail(rng), *((_half(rng),) if rng.random() < 0.5 else ())))
        case Effect.REQUIRE:
            small = Compare(Name("args.amount_cents"), "<=", Name(f"param.args_amount_cents_{rng.randint(1, 5)}"))
            if rng.random() < 0.2:
                return Some((Is(Name("confirmed")), small))
            return Some((negated(_tail(rng)), negated(_tail(rng))))
        case Effect.CAP:
            return _half(rng)


def _half(rng: random.Random) -> Condition:
    """A condition that holds for about half of the requests."""
    match rng.randrange(5):
        case 0:
            word = rng.choice(tuple(WORDS))
            return Among(Name(word), Name(f"param.some_{word.replace('.', '_')}"), rng.random() < 0.5)
        case 1:
            return Is(Name(rng.choice(FLAGS)), rng.random() < 0.5)
        case 2:
            first, second = rng.sample(WORDS["order.category"], 2)
            other = Compare(Name("order.category"), "==", second)
            return Some((Compare(Name("order.category"), "==", first), other, _number(rng, rng.randint(3, 7))))
        case 3:
            share = Reckoned(Name("order.item_cents"), "*", Name("param.partial_percent"))
            return Compare(Reckoned(Name("args.amount_cents"), "*", 100), "<=", share)
        case _:
            return _number(rng, rng.randint(4, 6))


def _tail(rng: random.Random) -> Condition:
    """A condition that holds for about a tenth or a fifth of the requests."""
    if rng.random() < 0.4:
        word = rng.choice(tuple(WORDS))
        return Compare(Name(word), "==", rng.choice(WORDS[word]))
    return _number(rng, 9)


def _number(rng: random.Random, step: int) -> Condition:
    name = rng.choice(tuple(NUMBERS))
    return Compare(Name(name), rng.choice((">", ">=")), Name(f"param.{name.replace('.', '_')}_{step}"))


def _limits(rng: random.Random) -> dict[str, Name | int]:
    match rng.randrange(3):
        case 0:
            return {"amount_cents": Name(f"param.args_amount_cents_{rng.randint(8, 9)}")}
        case 1:
            return {"amount_cents": Name(f"param.order_total_cents_{rng.randint(7, 9)}"), "window_days": 7}
        case _:
            return {"count": rng.randint(5, 9), "window_days": 30}


def request(clauses: int, rng: random.Random, *, one_place: bool = False, complete: bool = False) -> Request:
    """One request; a fact is missing from one in ten unless `complete`."""
    facts: dict[str, dict[str, Any]] = {}
    for name, most in NUMBERS.items():
        _put(facts, name, rng.randint(0, most))
    for name, words in WORDS.items():
        _put(facts, name, rng.choice(words))
    for name in FLAGS:
        _put(facts, name, rng.random() < 0.5)
    args = facts.pop("args")
    if not complete and rng.random() < 0.1:
        del facts[rng.choice(tuple(facts))]
    scenario = rng.choice(scenarios_of(clauses, one_place=one_place))
    spent = tuple(_line(n, rng) for n in range(LEDGER_LINES))
    return Request(scenario, Proposal(rng.choice(ACTIONS), args), facts, rng.random() < 0.5, spent)


def _put(facts: dict[str, dict[str, Any]], name: str, value: int | str | bool) -> None:
    fact, field = name.split(".")
    facts.setdefault(fact, {})[field] = value


def _line(n: int, rng: random.Random) -> ActionRecord:
    amount = rng.randint(100, 4_000)
    status = rng.choices((ActionStatus.DONE, ActionStatus.REFUSED, ActionStatus.UNKNOWN), (8, 1, 1))[0]
    at = NOW - timedelta(minutes=rng.randint(1, 90 * 24 * 60))
    return ActionRecord(f"key-{n}", "session", "customer", Proposal(rng.choice(ACTIONS), {}), amount, status, {}, at)
