"""The policy engine: one verdict for one proposed action over facts. Default deny; forbid beats permit.

Order of the answer: an argument about another thing than was read, a forbid that holds, a cap that would be broken or a
requirement that is false deny; else a fact that is missing asks for it, where it could still end in a yes; else no permit
denies; else allow. What is allowed only with the customer's yes, and that yes is not there yet, needs confirmation.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from agents.domain.pack import Pack
from agents.domain.words import ActionRecord, ActionStatus, Clause, Effect, Facts, Proposal, Ruling, Rung, Verdict
from agents.policy.conditions import Expression, Scope, Unknown

ANY = "*"
COUNTED = frozenset({ActionStatus.PLANNED, ActionStatus.INTENDED, ActionStatus.DONE, ActionStatus.UNKNOWN})
_CONFIRMED = "confirmed"
_DENIES_WHEN = {Effect.PERMIT: None, Effect.FORBID: True, Effect.CAP: True, Effect.REQUIRE: False}
_NO_LIMITS: Mapping[str, Any] = MappingProxyType({})
_MAX_WINDOW_DAYS = 36_500  # a longer window is no window: everything counts


@dataclass(frozen=True, slots=True)
class Rule:
    """A clause with its expressions compiled. `denies_when` is the truth of its condition (of a cap: that it would be broken)
    that denies; None for a permit."""

    clause: Clause
    when: Expression
    limits: Mapping[str, Expression]
    denies_when: bool | None

    @property
    def expressions(self) -> tuple[Expression, ...]:
        return (self.when, *self.limits.values())


class Finding(NamedTuple):
    """What one rule says of one proposal. `holds`: permits, forbids, is satisfied (require) or would be broken (cap).
    `limits` are a cap's values as evaluated, with `spent_amount_cents` and `spent_count` of its window."""

    rule: Rule
    holds: bool | Unknown
    limits: Mapping[str, int | Unknown]


@dataclass(frozen=True, slots=True)
class Place:
    """The rules for an action in a scenario, and what their conditions read: root names and parameters. `asking` is the same of
    those rules that read whether the customer has said yes."""

    rules: tuple[Rule, ...]
    reads: frozenset[str]
    parameters: Mapping[str, Any]
    zone: ZoneInfo
    asking: "Place | None"


class PolicyEngine:
    """Compiles a pack's clauses once. Raises ConditionInvalid for what does not parse (the loader checks first)."""

    def __init__(self, pack: Pack) -> None:
        self._zone = ZoneInfo(pack.timezone)
        self._pack, self._elsewhere = pack, dict[tuple[str, str], PolicyEngine]()
        self._parameters: dict[str, Any] = dict(pack.parameters)
        self._divisible = "param" in Scope({}, param=self._parameters).names  # else one bad value hides them all, everywhere
        self._places: dict[tuple[str, str], Place] = {}
        self._terms: dict[tuple[str, str], Expression] = {}
        self._by_place: dict[tuple[str, str], list[Rule]] = {}
        for clause in pack.clauses:
            limits = {name: Expression(source) for name, source in clause.limits.items()}
            rule = Rule(clause, Expression(clause.when), limits, _DENIES_WHEN[clause.effect])
            for scenario in clause.scenarios:
                for action in clause.actions:
                    self._by_place.setdefault((scenario, action), []).append(rule)
        self._named = ({scenario for scenario, _ in self._by_place}, {action for _, action in self._by_place})

    def at(self, market: str = "", tenant: str = "") -> "PolicyEngine":
        """The same clauses with the parameters of a market and a tenant. Cheap: what is compiled is shared."""
        place = (market if market in self._pack.markets else "", tenant if tenant in self._pack.tenants else "")
        if place == ("", ""):
            return self
        if place not in self._elsewhere:
            other = copy(self)
            other._parameters, other._places = dict(self._pack.parameters_of(*place)), {}
            other._divisible = "param" in Scope({}, param=other._parameters).names
            self._elsewhere[place] = other
        return self._elsewhere[place]

    @property
    def currency(self) -> str:
        """Of every amount in minor units that it judges."""
        return self._pack.currency

    def judge(
        self,
        proposal: Proposal,
        *,
        scenario: str,
        facts: Facts,
        confirmed: bool,
        spent: Sequence[ActionRecord],
        now: datetime,
    ) -> Verdict:
        """The verdict for `proposal`. `spent` are the customer's ledger lines. Never raises on hostile arguments."""
        if mistaken := strangers(proposal, facts):
            return Verdict(proposal, Ruling.DENY, (), mistaken=mistaken)
        place = self._place(scenario, proposal.action)
        agreed = _findings(place, proposal, facts, spent, now, confirmed=True)
        verdict = _verdict(proposal, agreed)
        if confirmed or verdict.ruling is not Ruling.ALLOW or place.asking is None:
            return verdict
        unasked = {f.rule.clause.id: f for f in _findings(place.asking, proposal, facts, spent, now, confirmed=False)}
        today = [unasked.get(f.rule.clause.id, f) for f in agreed]
        if _verdict(proposal, today).ruling is Ruling.ALLOW:
            return verdict
        asking = _ids(f for f, then in zip(today, agreed, strict=True) if f.holds != then.holds)
        return Verdict(proposal, Ruling.NEEDS_CONFIRMATION, tuple(dict.fromkeys(verdict.clause_ids + asking)))

    def findings(
        self,
        proposal: Proposal,
        *,
        scenario: str,
        facts: Facts,
        confirmed: bool,
        spent: Sequence[ActionRecord],
        now: datetime,
    ) -> tuple[Finding, ...]:
        """What every clause that applies to this action in this scenario says, in the order of `rules`."""
        return _findings(self._place(scenario, proposal.action), proposal, facts, spent, now, confirmed=confirmed)

    def scope(self, proposal: Proposal, facts: Facts, *, confirmed: bool, now: datetime) -> Scope:
        """The names this proposal's conditions see."""
        given = {"param": self._parameters, "args": dict(proposal.args), "confirmed": confirmed}
        return Scope(facts, **given, now=_local(now, self._zone))

    def _place(self, scenario: str, action: str) -> Place:
        """The rules with what they read, worked out once. What no clause names shares the place of what every clause is for."""
        key = (scenario if scenario in self._named[0] else ANY, action if action in self._named[1] else ANY)
        if key not in self._places:
            rules = self.rules(*key)
            asking = tuple(rule for rule in rules if _reads_confirmed(rule))
            self._places[key] = self._placed(rules, self._placed(asking, None) if asking else None)
        return self._places[key]

    def _placed(self, rules: tuple[Rule, ...], asking: Place | None) -> Place:
        expressions = [expression for rule in rules for expression in rule.expressions]
        return Place(rules, _reads(expressions), self._parameters_of(expressions), self._zone, asking)

    def _parameters_of(self, expressions: Iterable[Expression]) -> Mapping[str, Any]:
        names = set[str]()
        for expression in expressions:
            if expression.parameters is None or not self._divisible:
                return self._parameters
            names |= expression.parameters
        return {name: self._parameters[name] for name in names if name in self._parameters}

    def rules(self, scenario: str, action: str) -> tuple[Rule, ...]:
        """The rules for an action in a scenario, each once: the named ones first, then those for every scenario or action."""
        places = ((scenario, action), (scenario, ANY), (ANY, action), (ANY, ANY))
        return tuple({rule.clause.id: rule for place in places for rule in self._by_place.get(place, ())}.values())

    def terms(self, rung: Rung, *, facts: Facts) -> Proposal | tuple[str, ...]:
        """The rung's exact call, or the names of the facts it lacks. Cents divide as integers: the fraction is dropped."""
        expressions = {name: self._compiled(rung.action, source) for name, source in rung.args.items()}
        read = _reads(expressions.values())
        given = {"param": self._parameters_of(expressions.values())} if "param" in read else {}
        scope = Scope({name: fields for name, fields in facts.items() if name in read}, **given)
        args, missing = {}, dict[str, None]()
        for name, expression in expressions.items():
            value = expression.value(scope)
            if isinstance(value, Unknown):
                missing.update(dict.fromkeys(value.missing))
            else:
                args[name] = value
        return tuple(sorted(missing)) if missing or len(args) < len(rung.args) else Proposal(rung.action, args)

    def _compiled(self, action: str, source: str) -> Expression:
        key = (action, source)
        if key not in self._terms:
            self._terms[key] = Expression(source)
        return self._terms[key]


def _findings(
    place: Place, proposal: Proposal, facts: Facts, spent: Sequence[ActionRecord], now: datetime, *, confirmed: bool
) -> tuple[Finding, ...]:
    """In a scope of only what the rules read: handing values to CEL takes longer than evaluating thirty conditions."""
    given: dict[str, Any] = {"confirmed": confirmed}
    if "now" in place.reads:
        given["now"] = _local(now, place.zone)
    if "args" in place.reads:
        given["args"] = dict(proposal.args)
    if "param" in place.reads:
        given["param"] = place.parameters
    scope = Scope({name: fields for name, fields in facts.items() if name in place.reads}, **given)
    return tuple([_finding(rule, scope, proposal, spent, now) for rule in place.rules])


def _reads(expressions: Iterable[Expression]) -> frozenset[str]:
    return frozenset[str]().union(*(each.reads for each in expressions))


def _local(now: datetime, zone: ZoneInfo) -> datetime:
    """`now` with the offset that holds in `zone`: CEL knows offsets, no zones."""
    here = now.astimezone(zone)
    return here.astimezone(timezone(here.utcoffset() or timedelta()))


def strangers(proposal: Proposal, facts: Facts) -> tuple[str, ...]:
    """The arguments that name another thing than was read: what holds for one order allows nothing on another, whatever the
    clauses forget to compare. An argument `order_id` is held against the field `id` of the fact `order`."""
    return tuple(
        name
        for name, value in proposal.args.items()
        if (about := facts.get(name.removesuffix("_id"))) is not None
        and name.endswith("_id")
        and about.get("id", value) != value
    )


def _verdict(proposal: Proposal, findings: Sequence[Finding]) -> Verdict:
    """Allow, deny or needs-fact, from what every clause says."""
    against = [f for f in findings if f.holds is f.rule.denies_when]
    if against:
        return Verdict(proposal, Ruling.DENY, _ids(against))
    permits = [f for f in findings if f.rule.denies_when is None]
    granted = [f for f in permits if f.holds is True]
    if not granted and not any(isinstance(f.holds, Unknown) for f in permits):  # no fact could turn this into a yes
        return Verdict(proposal, Ruling.DENY, _ids(permits))
    unknown = [f for f in findings if isinstance(f.holds, Unknown)]
    blocking = [f for f in unknown if not granted or f.rule.clause.effect is not Effect.PERMIT]
    if blocking:
        missing = {name for f in blocking if isinstance(f.holds, Unknown) for name in f.holds.missing}
        return Verdict(proposal, Ruling.NEEDS_FACT, _ids(blocking), tuple(sorted(missing)))
    return Verdict(proposal, Ruling.ALLOW, _ids(granted))


def _finding(rule: Rule, scope: Scope, proposal: Proposal, spent: Sequence[ActionRecord], now: datetime) -> Finding:
    holds = rule.when.truth(scope)
    if holds is False or rule.clause.effect is not Effect.CAP:
        return Finding(rule, holds, _NO_LIMITS)
    limits: dict[str, int | Unknown] = {name: limit.whole(scope) for name, limit in rule.limits.items()}
    lines = _counted(rule.clause, limits.get("window_days"), spent, now)
    limits["spent_amount_cents"] = sum(max(line.amount_cents or 0, 0) for line in lines)
    limits["spent_count"] = len(lines)
    broken = _broken(limits, proposal, lines)
    return Finding(rule, holds if isinstance(holds, Unknown) and broken is not False else broken, limits)


def _counted(
    clause: Clause, window_days: int | Unknown | None, spent: Sequence[ActionRecord], now: datetime
) -> tuple[ActionRecord, ...]:
    """The ledger lines a cap counts: its actions inside the rolling window; none without a window. What was undone counts no
    longer, and undoing is no favour."""
    if window_days is None or isinstance(window_days, Unknown):
        return ()
    since = now - timedelta(days=window_days) if 0 <= window_days <= _MAX_WINDOW_DAYS else None
    return tuple(
        line
        for line in spent
        if line.status in COUNTED
        and not line.undoes
        and (ANY in clause.actions or line.proposal.action in clause.actions)
        and (since is None or line.at is None or line.at > since)
    )


def _broken(limits: Mapping[str, int | Unknown], proposal: Proposal, lines: Sequence[ActionRecord]) -> bool | Unknown:
    """True when this proposal with the counted `lines` exceeds a limit; unknown when a limit is and none is exceeded."""
    if isinstance(window := limits.get("window_days"), Unknown):
        return window
    asked = proposal.args.get("amount_cents", 0)
    used = {"amount_cents": sum(max(line.amount_cents or 0, 0) for line in lines), "count": len(lines)}
    unknown: Unknown | None = None
    for name, each in (("amount_cents", asked), ("count", 1)):
        if name not in limits:
            continue
        limit = limits[name]
        if isinstance(limit, Unknown):
            unknown = limit
        elif not isinstance(each, int) or isinstance(each, bool) or each < 0 or used[name] + each > limit:
            return True
    return False if unknown is None else unknown


def _reads_confirmed(rule: Rule) -> bool:
    return any(_CONFIRMED in expression.names for expression in rule.expressions)


def _ids(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.rule.clause.id for finding in findings))
