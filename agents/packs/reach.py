"""Which offers a pack promises but can never make: what no clause permits, what is never confirmed, what is never read."""

from collections.abc import Iterable, Mapping

from agents.domain.pack import Pack
from agents.domain.words import Clause, Effect, Rung, Scenario, ToolSpec
from agents.policy.conditions import GIVEN, ConditionInvalid, Expression

ANY = "*"
Found = tuple[str, int | None, str, str]  # scenario id, index of the rung (None: the scenario itself), message, hint


def unreachable(pack: Pack, tools: Mapping[str, ToolSpec]) -> tuple[Found, ...]:
    """Every such mistake. `tools` by name; a name nothing has, or an expression that does not parse, is another's to report."""
    found: list[Found] = []
    for scenario in pack.scenarios.values():
        facts, blocked = readable(scenario, tools)
        for name, needs in blocked.items():
            message = f"scenario {scenario.id!r} can never read {name!r}: {', '.join(needs)} is not among its slots and facts"
            found.append((scenario.id, None, message, "Add the slot, or a read that provides the fact."))
        ladder = pack.ladders.get(scenario.ladder or "")
        for index, rung in enumerate(ladder.rungs if ladder is not None else ()):
            for step in rung.steps:
                if step.action not in tools:
                    continue
                clauses = tuple(clause for clause in pack.clauses if _applies(clause, scenario.id, step.action))
                found += [(scenario.id, index, *problem) for problem in _rung_problems(scenario, step, clauses, facts)]
    return tuple(dict.fromkeys(found))


def readable(scenario: Scenario, tools: Mapping[str, ToolSpec]) -> tuple[frozenset[str], dict[str, tuple[str, ...]]]:
    """The facts a scenario's reads can provide from its slots, and each read that never runs with what it waits for."""
    have, waiting = set(scenario.slots), [tools[name] for name in scenario.reads if name in tools]
    facts: set[str] = set()
    while ready := [spec for spec in waiting if have >= set(spec.requires)]:
        waiting = [spec for spec in waiting if spec not in ready]
        facts |= {spec.provides for spec in ready if spec.provides is not None}
        have |= facts
    return frozenset(facts), {spec.name: tuple(need for need in spec.requires if need not in have) for spec in waiting}


def _rung_problems(
    scenario: Scenario, rung: Rung, clauses: Iterable[Clause], facts: frozenset[str]
) -> Iterable[tuple[str, str]]:
    clauses = tuple(clauses)
    if not any(clause.effect is Effect.PERMIT for clause in clauses):
        yield f"no clause permits {rung.action!r} in scenario {scenario.id!r}: it can never be offered", ""
    if not any("confirmed" in _names(clause.when) for clause in clauses if clause.effect is Effect.REQUIRE):
        yield f"no clause requires a confirmation for {rung.action!r} in scenario {scenario.id!r}", "when: confirmed"
    wanted = {name: "its terms" for source in rung.args.values() for name in _names(source)}
    for clause in clauses:
        for source in (clause.when, *clause.limits.values()):
            wanted = {name: f"clause {clause.id!r}" for name in _names(source)} | wanted
    for name in sorted(set(wanted) - facts - GIVEN):
        hint = "Add the tool that provides it to the scenario's reads."
        yield f"{rung.action!r} needs fact {name!r} ({wanted[name]}), which scenario {scenario.id!r} does not read", hint


def _applies(clause: Clause, scenario: str, action: str) -> bool:
    return bool({scenario, ANY} & set(clause.scenarios)) and bool({action, ANY} & set(clause.actions))


def _names(source: str) -> tuple[str, ...]:
    try:
        return Expression(source).names
    except ConditionInvalid:
        return ()
