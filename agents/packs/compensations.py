"""Can what a pack offers be undone as it says? Every compensation names a write, fills its arguments from what there is, and
every offer of several writes can be taken back until its last step, or says where it no longer can."""

from collections.abc import Iterator, Mapping
from typing import Any

from agents.domain.pack import Pack
from agents.domain.words import Compensation, Ladder, Rung, ToolSpec
from agents.packs.cel_types import DYN, Type, type_of

Specs = Mapping[str, ToolSpec]
Found = tuple[str, str]  # message, hint


def wrong_compensations(specs: Specs) -> Iterator[tuple[str, Found]]:
    """Tool name and what is wrong with how it says it is undone."""
    for name, spec in specs.items():
        if spec.undo is None:
            continue
        by = specs.get(spec.undo.tool)
        if by is None or by.kind != "write":
            yield name, (f"tool {name!r} is compensated by {spec.undo.tool!r}: no write tool has that name", "")
            continue
        for problem in _arguments(spec, spec.undo, by):
            yield name, problem
        if name in (way := _way(name, specs)):
            yield name, (f"tool {name!r} is undone in a circle: {' -> '.join((name, *way))}", "Undoing must come to an end.")


def wrong_steps(ladder: Ladder, specs: Specs) -> Iterator[tuple[int, int, Found]]:
    """Index of the rung, index of its step, and what is wrong there."""
    for index, rung in enumerate(ladder.rungs):
        for number, step in enumerate(rung.steps):
            spec = specs.get(step.action)
            if spec is not None:
                yield from ((index, number, problem) for problem in _step(step, spec, last=number == len(rung.then)))


def needs_step_texts(pack: Pack) -> bool:
    return any(rung.then for ladder in pack.ladders.values() for rung in ladder.rungs)


def _step(step: Rung, spec: ToolSpec, *, last: bool) -> Iterator[Found]:
    if last:
        if step.undone or step.final:
            yield f"{step.action!r} is the last write of its offer: nothing undoes it", "Leave out undone and final."
    elif spec.undo is None and not step.final:
        hint = f"@tool(compensated_by=…), or final = true: once {step.action} is done, what comes after it fails to a person."
        yield f"{step.action!r} cannot be undone when a later step fails", hint
    elif spec.undo is not None and step.final:
        yield f"{step.action!r} is called final, and {spec.undo.tool!r} undoes it", "Leave out final."
    elif spec.undo is not None and not step.undone:
        yield f"{step.action!r} does not say what the customer is told when it was undone", "undone.en = …"


def _arguments(spec: ToolSpec, undo: Compensation, by: ToolSpec) -> Iterator[Found]:
    wanted, call = _properties(by.parameters), _properties(spec.parameters)
    receipt = _properties(spec.returns)
    for name in sorted(set(wanted) - set(undo.args)):
        if name in by.parameters.get("required", ()):
            yield f"{by.name!r}, which undoes {spec.name!r}, needs argument {name!r}", f'compensation={{"{name}": "args.…"}}'
    for name, source in undo.args.items():
        origin, _, field = source.partition(".")
        known = call if origin == "args" else receipt
        if name not in wanted:
            yield f"{by.name!r}, which undoes {spec.name!r}, has no argument {name!r}", ""
        elif field not in known:
            what = "argument" if origin == "args" else "field in its receipt"
            hint = "A receipt is a dataclass." if origin == "receipt" and not receipt else ""
            yield f"tool {spec.name!r} has no {what} {field!r} to undo it with", hint
        elif (name in call or name.endswith("_cents")) and origin != "args":
            yield f"{name!r} of {by.name!r} must be the call's own", f"args.{name}: what is undone is what was done."
        elif not _fits(type_of(known[field]), type_of(wanted[name])):
            yield f"{name!r} of {by.name!r} has another type than {source} of {spec.name!r}", ""


def _fits(given: Type, wanted: Type) -> bool:
    return DYN in (given, wanted) or given == wanted


def _way(name: str, specs: Specs) -> tuple[str, ...]:
    """The tools that undo `name`, what undoes those, and so on, until one comes a second time."""
    way: list[str] = []
    spec = specs.get(name)
    while spec is not None and spec.undo is not None and spec.undo.tool not in way:
        way.append(spec.undo.tool)
        spec = specs.get(spec.undo.tool)
    return tuple(way)


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schema.get("properties", {})
    return found
