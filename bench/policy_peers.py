"""The neutral rules of `policy_rules` in OPA's Rego and in Cedar, evaluated by regopy (rego-cpp) and cedarpy.

Both get the sums of the ledger ready-made for every cap, outside their time: neither language sums a rolling window by itself
as our caps do. Both are asked only whether the action is allowed; ours also says why and what is missing.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import product
from typing import Any

import cedarpy
import regopy  # type: ignore[import-untyped]

from agents.domain.words import ActionRecord, Effect
from agents.policy.engine import COUNTED
from bench.policy_rules import (
    ANY,
    NOW,
    PARAMETERS,
    Among,
    Compare,
    Condition,
    Every,
    Is,
    Name,
    Operand,
    Reckoned,
    Request,
    Rule,
    Some,
    negated,
)

Ways = list[tuple[Is | Compare | Among, ...]]


class Rego:
    """One module; `decision.allowed` is true when something permits and nothing denies."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        lines = ["package decision", "import rego.v1", "default allowed := false", "allowed if { permitted; not denied }"]
        lines += ["default permitted := false", "default denied := false"]
        for rule in rules:
            head = "permitted" if rule.effect is Effect.PERMIT else "denied"
            where = [] if ANY in rule.scenarios else [f"input.scenario in {json.dumps(rule.scenarios)}"]
            where += [] if ANY in rule.actions else [f"input.action in {json.dumps(rule.actions)}"]
            for way in _ways(_active(rule)):
                body = "; ".join([*where, *map(_rego, way)]) or "true"
                lines.append(f"{head} if {{ {body} }}")
        self.source = "\n".join(lines)
        self._interpreter = regopy.Interpreter()
        self._interpreter.add_module("decision", self.source)
        self._rules = [rule for rule in rules if rule.effect is Effect.CAP]

    def prepare(self, request: Request) -> Any:
        return {"scenario": request.scenario, "action": request.proposal.action, **_given(request, self._rules)}

    def allowed(self, prepared: Any) -> bool:
        self._interpreter.set_input(prepared)
        answer = str(self._interpreter.query("data.decision.allowed"))  # rego-cpp calls a query that is false undefined
        return answer != "undefined" and json.loads(answer)["expressions"] == [True]


class Cedar:
    """A parsed policy set. The scenario is the resource, the action the action, everything else the context."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        policies = []
        for rule in rules:
            effect = "permit" if rule.effect is Effect.PERMIT else "forbid"
            actions = (
                "action" if ANY in rule.actions else f"action in [{', '.join(_entity('Action', a) for a in rule.actions)}]"
            )
            condition = _cedar(_active(rule))
            for scenario in rule.scenarios:
                resource = "resource" if scenario == ANY else f"resource == {_entity('Scenario', scenario)}"
                policies.append(f"{effect} (principal, {actions}, {resource}) when {{ {condition} }};")
        self.source = "\n".join(policies)
        self._policies = cedarpy.PolicySet.from_str(self.source)
        self._entities = cedarpy.Entities.from_json_str("[]")
        self._rules = [rule for rule in rules if rule.effect is Effect.CAP]

    def prepare(self, request: Request) -> Any:
        return {
            "principal": 'Customer::"c"',
            "action": _entity("Action", request.proposal.action),
            "resource": _entity("Scenario", request.scenario),
            "context": _given(request, self._rules),
        }

    def allowed(self, prepared: Any) -> bool:
        return bool(cedarpy.is_authorized(prepared, self._policies, self._entities).allowed)


def _active(rule: Rule) -> Condition:
    """When the rule permits, or when it denies."""
    if rule.effect is Effect.REQUIRE:
        return negated(rule.when)
    if rule.effect is not Effect.CAP:
        return rule.when
    broken: list[Condition] = []
    for name, each in (("amount_cents", Name("args.amount_cents")), ("count", 1)):
        if name in rule.limits:
            spent = Name(f"spent.{rule.id}_{name}")
            broken.append(Compare(Reckoned(spent, "+", each), ">", rule.limits[name]))
    return Every((rule.when, Some(tuple(broken))))


def _given(request: Request, caps: Sequence[Rule]) -> dict[str, Any]:
    """The facts, and what the caps that apply count."""
    spent: dict[str, int] = {}
    for rule in caps:
        lines = _counted(rule, request.spent)
        spent[f"{rule.id}_amount_cents"] = sum(max(line.amount_cents or 0, 0) for line in lines)
        spent[f"{rule.id}_count"] = len(lines)
    return {**request.facts, "args": dict(request.proposal.args), "confirmed": request.confirmed, "spent": spent}


def _counted(rule: Rule, spent: Sequence[ActionRecord]) -> list[ActionRecord]:
    days = rule.limits.get("window_days")
    if not isinstance(days, int):
        return []
    since = NOW - timedelta(days=days)
    known = [line for line in spent if line.status in COUNTED and not line.undoes and line.at is not None and line.at > since]
    return [line for line in known if ANY in rule.actions or line.proposal.action in rule.actions]


def _ways(condition: Condition) -> Ways:
    """The condition as an or of ands: Rego's rules have no or inside."""
    match condition:
        case Every(parts):
            return [tuple(atom for way in ways for atom in way) for ways in product(*map(_ways, parts))]
        case Some(parts):
            return [way for part in parts for way in _ways(part)]
        case _:
            return [(condition,)]


def _rego(atom: Is | Compare | Among) -> str:
    match atom:
        case Is(name, wanted):
            return f"input.{name.path} == {json.dumps(wanted)}"
        case Among(name, listed, wanted):
            return f"{'' if wanted else 'not '}input.{name.path} in {json.dumps(_parameter(listed))}"
        case Compare(left, operator, right):
            return f"{_reckoned(left, 'input')} {operator} {_reckoned(right, 'input')}"


def _cedar(condition: Condition) -> str:
    match condition:
        case Is(name, wanted):
            return f"{'' if wanted else '!'}context.{name.path}"
        case Among(name, listed, wanted):
            return f"{'' if wanted else '!'}{json.dumps(_parameter(listed))}.contains(context.{name.path})"
        case Compare(left, operator, right):
            return f"{_reckoned(left, 'context')} {operator} {_reckoned(right, 'context')}"
        case Every(parts):
            return "(" + " && ".join(map(_cedar, parts)) + ")"
        case Some(parts):
            return "(" + " || ".join(map(_cedar, parts)) + ")"


def _reckoned(operand: Operand, root: str) -> str:
    match operand:
        case Name(path):
            return json.dumps(_parameter(operand)) if path.startswith("param.") else f"{root}.{path}"
        case Reckoned(left, operator, right):
            return f"({_reckoned(left, root)} {operator} {_reckoned(right, root)})"
        case _:
            return json.dumps(operand)


def _parameter(name: Name) -> Any:
    return PARAMETERS[name.path.removeprefix("param.")]


def _entity(kind: str, name: str) -> str:
    return f"{kind}::{json.dumps(name)}"


PEERS: Mapping[str, type[Rego] | type[Cedar]] = {"rego": Rego, "cedar": Cedar}
