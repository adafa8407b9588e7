"""The reading half of the tool agent: which facts a scenario needs, read in dependency order, in parallel where free."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    try:
        return await back_office.call(spec.name, arguments(spec, slots, facts), call)
    except ToolRefused:
        return REFUSED
    except (ToolFailure, BadInput) as error:
        return error.message


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
