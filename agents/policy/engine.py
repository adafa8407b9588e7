"""The policy engine: one verdict for one proposed action over facts. Default deny; forbid beats permit.

Order of the answer: a forbid that holds, a cap that would be broken or a requirement that is false deny; else a fact that is
missing asks for it; else no permit denies; else a missing confirmation asks for one; else allow.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agents.domain.pack import Pack
from agents.domain.words import ActionRecord, ActionStatus, Clause, Effect, Facts, Proposal, Ruling, Rung, Verdict
from agents.policy.conditions import Expression, Scope, Unknown

ANY = "*"
COUNTED = frozenset({ActionStatus.INTENDED, ActionStatus.DONE, ActionStatus.UNKNOWN})
_CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Rule:
    """A clause with its expressions compiled."""

    clause: Clause
    when: Expression
    limits: Mapping[str, Expression]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says of one proposal. `holds`: permits, forbids, is satisfied (require) or would be broken (cap)."""

    rule: Rule
    holds: bool | Unknown


class PolicyEngine:
    """Compiles a pack's clauses once. Raises ConditionInvalid for what does not parse (the loader checks first)."""

    def __init__(self, pack: Pack) -> None:
        self._parameters = dict(pack.parameters)
        self._terms: dict[tuple[str, str], Expression] = {}
        self._by_place: dict[tuple[str, str], list[Rule]] = {}
        for clause in pack.clauses:
            limits = {name: Expression(source) for name, source in clause.limits.items()}
            rule = Rule(clause, Expression(clause.when), limits)
            for scenario in clause.scenarios:
                for action in clause.actions:
                    self._by_place.setdefault((scenario, action), []).append(rule)

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
        findings = self.findings(proposal, scenario=scenario, facts=facts, confirmed=confirmed, spent=spent, now=now)
        against = [f for f in findings if _denies(f)]
        if against:
            return Verdict(proposal, Ruling.DENY, _ids(against))
        unknown = [f for f in findings if isinstance(f.holds, Unknown)]
        permits = [f for f in findings if f.rule.clause.effect is Effect.PERMIT]
        granted = [f for f in permits if f.holds is True]
        blocking = unknown if not granted else [f for f in unknown if f.rule.clause.effect is not Effect.PERMIT]
        if blocking:
            missing = dict.fromkeys(name for f in blocking if isinstance(f.holds, Unknown) for name in f.holds.missing)
            return Verdict(proposal, Ruling.NEEDS_FACT, _ids(blocking), tuple(sorted(missing)))
        if not granted:
            return Verdict(proposal, Ruling.DENY, _ids(permits))
        asked = [f for f in findings if _asks_confirmation(f)]
        if asked:
            return Verdict(proposal, Ruling.NEEDS_CONFIRMATION, _ids(granted + asked))
        return Verdict(proposal, Ruling.ALLOW, _ids(granted))

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
        """What every clause that applies to this action in this scenario says, in pack order."""
        scope = Scope(facts, param=self._parameters, args=dict(proposal.args), confirmed=confirmed)
        found = []
        for rule in self.rules(scenario, proposal.action):
            holds = rule.when.truth(scope)
            if rule.clause.effect is Effect.CAP and holds is not False:
                broken = _cap_broken(rule, scope, proposal, spent, now)
                holds = holds if isinstance(holds, Unknown) and broken is not False else broken
            found.append(Finding(rule, holds))
        return tuple(found)

    def rules(self, scenario: str, action: str) -> tuple[Rule, ...]:
        """The rules for an action in a scenario, each once: the named ones first, then those for every scenario or action."""
        places = ((scenario, action), (scenario, ANY), (ANY, action), (ANY, ANY))
        return tuple({rule.clause.id: rule for place in places for rule in self._by_place.get(place, ())}.values())

    def terms(self, rung: Rung, *, facts: Facts) -> Proposal | tuple[str, ...]:
        """The rung's exact call, or the names of the facts it lacks. Cents divide as integers: the fraction is dropped."""
        scope = Scope(facts, param=self._parameters)
        args, missing = {}, dict[str, None]()
        for name, source in rung.args.items():
            value = self._compiled(rung.action, source).value(scope)
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


def _cap_broken(rule: Rule, scope: Scope, proposal: Proposal, spent: Sequence[ActionRecord], now: datetime) -> bool | Unknown:
    """True when this proposal with the counted ledger lines of the window exceeds a limit. Without window: this one alone."""
    lines: Iterable[ActionRecord] = ()
    if "window_days" in rule.limits:
        days = rule.limits["window_days"].whole(scope)
        if isinstance(days, Unknown):
            return days
        since = now - timedelta(days=days)
        lines = [line for line in spent if _counts(rule.clause, line) and (line.at is None or line.at > since)]
    lines = tuple(lines)
    if "amount_cents" in rule.limits:
        limit, asked = rule.limits["amount_cents"].whole(scope), proposal.args.get("amount_cents", 0)
        if isinstance(limit, Unknown):
            return limit
        if not isinstance(asked, int) or isinstance(asked, bool) or asked < 0:
            return True
        if sum(line.amount_cents or 0 for line in lines) + asked > limit:
            return True
    if "count" in rule.limits:
        limit = rule.limits["count"].whole(scope)
        if isinstance(limit, Unknown):
            return limit
        if len(lines) + 1 > limit:
            return True
    return False


def _counts(clause: Clause, line: ActionRecord) -> bool:
    return line.status in COUNTED and (ANY in clause.actions or line.proposal.action in clause.actions)


def _denies(finding: Finding) -> bool:
    effect = finding.rule.clause.effect
    if effect in (Effect.FORBID, Effect.CAP):
        return finding.holds is True
    return effect is Effect.REQUIRE and finding.holds is False and _CONFIRMED not in finding.rule.when.names


def _asks_confirmation(finding: Finding) -> bool:
    rule = finding.rule
    return rule.clause.effect is Effect.REQUIRE and finding.holds is False and _CONFIRMED in rule.when.names


def _ids(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.rule.clause.id for finding in findings))
