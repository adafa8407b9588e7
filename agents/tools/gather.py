"""The reading half of the tool agent: which facts a scenario needs, read in dependency order, in parallel where free."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from agents.domain.errors import BadInput, ToolFailure, ToolRefused
from agents.domain.words import Facts, ToolSpec
from agents.ports import BackOffice, ToolCall

REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Gathered:
    """`facts` read now; `failed` maps a tool's name to `refused` or the reason it gave nothing."""

    facts: Facts
    failed: Mapping[str, str]


async def gather(back_office: BackOffice, reads: Sequence[str], slots: Mapping[str, str], call: ToolCall) -> Gathered:
    """Read every tool of `reads` whose slots and facts are there, wave by wave. A failed read leaves its fact out."""
    specs = {spec.name: spec for spec in back_office.specs()}
    waiting = [specs[name] for name in reads]
    facts: dict[str, Mapping[str, Any]] = {}
    failed: dict[str, str] = {}
    while ready := [spec for spec in waiting if all(need in slots or need in facts for need in spec.requires)]:
        waiting = [spec for spec in waiting if spec not in ready]
        for spec, outcome in zip(
            ready, await asyncio.gather(*(_read(back_office, s, slots, facts, call) for s in ready)), strict=True
        ):
            if isinstance(outcome, str):
                failed[spec.name] = outcome
            elif spec.provides is not None:
                facts[spec.provides] = outcome
    return Gathered(facts, failed)


async def _read(
    back_office: BackOffice, spec: ToolSpec, slots: Mapping[str, str], facts: Facts, call: ToolCall
) -> Mapping[str, Any] | str:
    args = arguments(spec, slots, facts)
    try:
        answer = await back_office.call(spec.name, args, call)
    except ToolRefused:
        return REFUSED
    except (ToolFailure, BadInput) as error:
        return error.message
    except Exception as error:  # what a back office must not raise
        return f"{spec.name} broke: {type(error).__name__}"
    wrong = untrue(spec, args, answer)
    return answer if wrong is None else f"{spec.name} {wrong}"


def untrue(spec: ToolSpec, args: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
    """Why a read's answer cannot be believed: it is not of the tool's schema, or speaks of another thing than was asked for."""
    if spec.returns:
        try:
            wrong = next(_validator(_Same(spec.returns)).iter_errors(dict(answer)), None)
        except ValueError:  # of values that JSON does not know
            return f"answered with no {spec.provides}: it is no JSON"
        if wrong is not None:
            return f"answered with no {spec.provides}: {_path(wrong.instance_path)}"
    for name, asked in args.items():
        own = "id" if name == f"{spec.provides}_id" else name
        if own in answer and answer[own] != asked:
            return f"answered about another {name}"
    return None


def ill_formed(spec: ToolSpec, args: Mapping[str, Any]) -> tuple[str, ...]:
    """The arguments that the tool's schema does not take: unknown, missing, or of another type."""
    known = spec.parameters.get("properties", {})
    missing = [name for name in spec.parameters.get("required", ()) if name not in args]
    try:
        errors = list(_validator(_Same(spec.parameters)).iter_errors(dict(args)))
    except ValueError:  # values that JSON does not know
        return tuple(args)
    wrong = [error.instance_path[0] for error in errors if error.instance_path]
    return tuple(dict.fromkeys([*missing, *(name for name in args if name not in known), *map(str, wrong)]))


class _Same:
    """A schema as a cache's key: this very one, which stays; to compare its text would cost more than to use it."""

    __slots__ = ("schema",)

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.schema is self.schema


@lru_cache(maxsize=512)
def _validator(same: _Same) -> Draft202012Validator:
    return Draft202012Validator(dict(same.schema))


def _path(steps: Sequence[str | int]) -> str:
    """As JSONPath: `$.lines[0].price`."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def arguments(spec: ToolSpec, slots: Mapping[str, str], facts: Facts) -> dict[str, Any]:
    """Each parameter from the slot of its name, else from the first required fact that has such a field."""
    found: dict[str, Any] = {}
    for name in spec.parameters.get("properties", {}):
        if name in slots:
            found[name] = slots[name]
            continue
        for need in spec.requires:
            if name in facts.get(need, {}):
                found[name] = facts[need][name]
                break
    return found
