"""A pack's tools as a BackOffice: arguments checked, every call bounded in time, every failure one of three kinds."""

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from agents.domain.errors import BadInput, NotFound, ToolFailed, ToolFailure, ToolUnknown
from agents.domain.words import Proposal, ToolSpec
from agents.ports import ToolCall
from agents.tools.registry import BoundTool, collect


class PackBackOffice:
    """The tools of one pack over its opened back office. `module` must offer `lookup_receipt(resource, call)`."""

    def __init__(self, module: ModuleType, resource: Any) -> None:
        self._module, self._resource = module, resource
        self._tools: dict[str, BoundTool] = {bound.spec.name: bound for bound in collect(module)}

    def specs(self) -> Sequence[ToolSpec]:
        return tuple(bound.spec for bound in self._tools.values())

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        """Run a tool. A read that breaks or is late certainly did nothing: ToolFailed. A write: ToolUnknown."""
        bound = self._tools.get(tool)
        if bound is None:
            raise NotFound(f"no tool named {tool!r}", hint=f"The pack has: {', '.join(sorted(self._tools))}.")
        values = _checked(bound, args)
        broke = ToolFailed if bound.spec.kind == "read" else ToolUnknown
        try:
            async with asyncio.timeout(bound.spec.timeout_s):
                return _fields(await bound.run(self._resource, call, **values))
        except ToolFailure:
            raise
        except TimeoutError as error:
            raise broke(f"{tool} did not answer within {bound.spec.timeout_s:g} s") from error
        except Exception as error:
            raise broke(f"{tool} broke: {type(error).__name__}") from error

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        """The receipt of a write done under `call.key`, None when there is none. Raises ToolUnknown when it cannot be asked."""
        bound = self._tools.get(proposal.action)
        try:
            async with asyncio.timeout(bound.spec.timeout_s if bound is not None else None):
                receipt = await self._module.lookup_receipt(self._resource, call)
                return None if receipt is None else _fields(receipt)
        except Exception as error:
            raise ToolUnknown(f"{proposal.action}: the receipt cannot be looked up: {type(error).__name__}") from error

    async def close(self) -> None:
        await self._module.close(self._resource)


def _checked(bound: BoundTool, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as the tool's own types. They come as JSON values: what is no JSON is bad input too."""
    name = bound.spec.name
    try:
        checked = bound.arguments.model_validate_json(json.dumps(dict(args), allow_nan=False))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or name
        raise BadInput(f"{name}: {field}: {first['msg']}", field=field, hint="See the tool's schema.") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{name}: the arguments are no JSON: {error}", field=name, hint="See the tool's schema.") from error
    return {field: getattr(checked, field) for field in type(checked).model_fields}


def _fields(result: Any) -> dict[str, Any]:
    """A dataclass or mapping as plain fields of JSON values: dates as ISO 8601, enums by value."""
    plain: dict[str, Any] = to_jsonable_python(result if dataclasses.is_dataclass(result) else dict(result))
    return plain
