"""Why a verdict is what it is, clause by clause, with the values that decided, and what would change it.

A condition is taken apart at its top-level `&&` (for a clause that must hold) or `||` (for one that must not): the parts
that came out wrong are what would have to be different.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents.domain.money import Money
from agents.domain.words import ActionRecord, Effect, Facts, Proposal, Ruling, Verdict
from agents.policy.conditions import Expression, Scope, Unknown, without_strings
from agents.policy.engine import Finding, PolicyEngine

_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\b(?!\s*\()")
_WORDS = frozenset({"true", "false", "null", "in"})
_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Line:
    """One clause's part in a verdict. `holds` is None where a fact is missing; `values` are what its condition read
    (a name that is not there is absent); `change` says what would lift its objection, empty when it has none."""

    clause_id: str
    effect: Effect
    when: str
    holds: bool | None
    decided: bool
    values: Mapping[str, Any]
    change: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with every clause that was asked, in order."""

    verdict: Verdict
    lines: tuple[Line, ...]

    @property
    def changes(self) -> tuple[str, ...]:
        """What would have to be different for a yes. A permit's change is one way among those of the other permits."""
        if self.verdict.ruling is Ruling.ALLOW:
            return ()
        if self.verdict.mistaken:
            return tuple(f"{name}: must name what the facts were read of" for name in self.verdict.mistaken)
        if not any(line.effect is Effect.PERMIT for line in self.lines):
            return ("no clause permits this action here: a permit would have to be written",)
        return tuple(f"{line.clause_id}: {line.change}" for line in self.lines if line.change)


def explain(
    engine: PolicyEngine,
    proposal: Proposal,
    *,
    scenario: str,
    facts: Facts,
    confirmed: bool,
    spent: Sequence[ActionRecord],
    now: datetime,
) -> Explanation:
    """The verdict of `engine.judge` and what each clause said. Raises nothing on hostile arguments.

    What a yes cannot change is judged, and explained, as if it had been said.
    """
    verdict = engine.judge(proposal, scenario=scenario, facts=facts, confirmed=confirmed, spent=spent, now=now)
    agreed = confirmed or verdict.ruling in (Ruling.DENY, Ruling.NEEDS_FACT)
    findings = engine.findings(proposal, scenario=scenario, facts=facts, confirmed=agreed, spent=spent, now=now)
    scope = engine.scope(proposal, facts, confirmed=agreed, now=now)
    permitted = any(f.rule.clause.effect is Effect.PERMIT and f.holds is True for f in findings)
    return Explanation(
        verdict, tuple(_line(finding, scope, proposal, verdict, permitted, engine.currency) for finding in findings)
    )


def conjuncts(source: str, operator: str = "&&") -> tuple[str, ...]:
    """The parts of a condition between its top-level `operator`s; the whole one when there is none or it would be split wrong.

    `a && b || c` is not a conjunction: `||` binds weaker, so a top-level one leaves it whole; so does a conditional.
    """
    masked = _masked(source)
    if "?" in masked or (operator == "&&" and "||" in masked):
        return (source.strip(),)
    parts, start = [], 0
    for match in re.finditer(re.escape(operator), masked):
        parts.append(source[start : match.start()].strip())
        start = match.end()
    return (*parts, source[start:].strip())


def _line(finding: Finding, scope: Scope, proposal: Proposal, verdict: Verdict, permitted: bool, currency: str) -> Line:
    clause, holds = finding.rule.clause, finding.holds
    sources = (clause.when, *clause.limits.values())
    values = {name: value for source in sources for name, value in _values(source, scope).items()}
    return Line(
        clause_id=clause.id,
        effect=clause.effect,
        when=clause.when,
        holds=None if isinstance(holds, Unknown) else holds,
        decided=clause.id in verdict.clause_ids,
        values=values | {name: value for name, value in finding.limits.items() if not isinstance(value, Unknown)},
        change=_change(finding, scope, proposal, permitted, currency),
    )


def _change(finding: Finding, scope: Scope, proposal: Proposal, permitted: bool, currency: str) -> str:
    clause, holds = finding.rule.clause, finding.holds
    if isinstance(holds, Unknown):
        if clause.effect is Effect.PERMIT and permitted:
            return ""
        return "needs " + (", ".join(holds.missing) or "values its condition can read")
    if clause.effect is Effect.CAP:
        return _room(finding, proposal, currency) if holds else ""
    if clause.effect is Effect.FORBID:
        return "must not hold: " + " ; ".join(_parts(clause.when, "||", True, scope)) if holds else ""
    if holds or (clause.effect is Effect.PERMIT and permitted):
        return ""
    return "must hold: " + " ; ".join(_parts(clause.when, "&&", False, scope))


def _parts(source: str, operator: str, wrong: bool, scope: Scope) -> list[str]:
    """The parts that came out `wrong`, or the whole condition where none did by itself."""
    found = [part for part in conjuncts(source, operator) if Expression(part).truth(scope) is wrong]
    return found or [source]


def _room(finding: Finding, proposal: Proposal, currency: str) -> str:
    """How much of a cap is left."""
    limits, said = finding.limits, []
    limit, used = limits.get("amount_cents"), limits.get("spent_amount_cents", 0)
    if isinstance(limit, int) and isinstance(used, int):
        said.append(f"{Money(max(limit - used, 0), currency)} left of {Money(limit, currency)}")
    limit, used = limits.get("count"), limits.get("spent_count", 0)
    if isinstance(limit, int) and isinstance(used, int):
        said.append(f"{max(limit - used, 0)} actions left of {limit}")
    asked = proposal.args.get("amount_cents")
    if asked is not None and "amount_cents" in limits:
        said.append(f"{Money(asked, currency) if type(asked) is int else asked} asked")
    return "; ".join(said)


def _values(source: str, scope: Scope) -> dict[str, Any]:
    """Every dotted name the expression reads with its value now."""
    bound = Expression(source).names
    found = {}
    for name in dict.fromkeys(_NAME.findall(without_strings(source))):
        if name in _WORDS or name.partition(".")[0] not in bound:
            continue
        value = Expression(name).value(scope)
        if not isinstance(value, Unknown):
            found[name] = value
    return found


def _masked(source: str) -> str:
    """`source` at its own length with everything inside strings and brackets blanked."""
    kept, depth, quote, escaped = [], 0, "", False
    for char in source:
        inside = bool(quote) or depth > 0
        if quote:
            quote, escaped = ("" if char == quote and not escaped else quote), char == "\\" and not escaped
        elif char in "\"'":
            quote, inside = char, True
        elif char in _OPEN:
            depth, inside = depth + 1, True
        elif char in _CLOSE:
            depth -= 1
        kept.append(" " if inside or char in _CLOSE else char)
    return "".join(kept)
