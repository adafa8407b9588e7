"""`@tool`: a typed async function becomes a tool. Its JSON Schema comes from its signature.

    @tool(kind="read", requires=["order_id"], provides="order")
    async def get_order(shop: Shop, call: ToolCall, order_id: str) -> Order: ...

The first two parameters are the opened back office and the ToolCall; the others are the call's arguments. A write may say
which write undoes it, and where each argument of that one comes from:

    @tool(kind="write", compensated_by="close_return", compensation={"return_id": "receipt.return_id"})
    async def open_return(shop: Shop, call: ToolCall, order_id: str) -> ReturnReceipt: ...
"""

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, ParamSpec, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model

from agents.domain.words import Compensation, ToolSpec

P = ParamSpec("P")
R = TypeVar("R")
_MARK = "__keepword_tool__"


class ToolInvalid(TypeError):
    """A function cannot be a tool; the message names the function and the parameter."""


@dataclass(frozen=True, slots=True)
class BoundTool:
    """A tool ready to be called: `arguments` validates a call's arguments, `returns` is the annotated result type."""

    spec: ToolSpec
    run: Callable[..., Awaitable[Any]]
    arguments: type[BaseModel]
    returns: Any


def tool(
    *,
    kind: Literal["read", "write"],
    requires: Sequence[str] = (),
    provides: str | None = None,
    timeout_s: float = 5.0,
    idempotent: bool = True,
    compensated_by: str | None = None,
    compensation: Mapping[str, str] | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Mark a function as a tool; it stays callable as it is. `compensation` maps each argument of the write `compensated_by` to
    "args.NAME" of the call it undoes, or "receipt.NAME". Raises ToolInvalid for a signature that cannot be a tool."""

    def mark(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        undo = _undo(function.__name__, kind, compensated_by, compensation)
        setattr(function, _MARK, _bind(function, kind, tuple(requires), provides, timeout_s, idempotent, undo))
        return function

    return mark


def collect(module: ModuleType) -> tuple[BoundTool, ...]:
    """Every tool defined in or imported into `module`, by name."""
    found = {bound.spec.name: bound for value in vars(module).values() if (bound := getattr(value, _MARK, None)) is not None}
    return tuple(found[name] for name in sorted(found))


def _bind(
    function: Callable[..., Awaitable[Any]],
    kind: Literal["read", "write"],
    requires: tuple[str, ...],
    provides: str | None,
    timeout_s: float,
    idempotent: bool,
    undo: Compensation | None,
) -> BoundTool:
    name = function.__name__
    if not inspect.iscoroutinefunction(function):
        raise ToolInvalid(f"tool {name} must be an async function")
    if kind == "read" and provides is None:
        raise ToolInvalid(f"read tool {name} must say which fact it provides: provides=…")
    if not timeout_s > 0:
        raise ToolInvalid(f"tool {name}: timeout_s must be above 0")
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) < 2:
        raise ToolInvalid(f"tool {name} must take the back office and the ToolCall first")
    hints = _hints(function)
    fields: dict[str, Any] = {}
    for parameter in parameters[2:]:
        _check_parameter(name, parameter, hints)
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    arguments = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid", strict=True, frozen=True), **fields)
    spec = ToolSpec(
        name,
        kind,
        inspect.getdoc(function) or "",
        requires,
        provides,
        arguments.model_json_schema(),
        timeout_s,
        idempotent,
        _fact_schema(hints.get("return")),
        undo,
    )
    return BoundTool(spec, function, arguments, hints.get("return"))


def _undo(name: str, kind: str, tool_name: str | None, sources: Mapping[str, str] | None) -> Compensation | None:
    if tool_name is None:
        if sources is not None:
            raise ToolInvalid(f"tool {name}: compensation without compensated_by=…")
        return None
    if kind != "write":
        raise ToolInvalid(f"tool {name}: only a write can be compensated")
    for argument, source in (sources or {}).items():
        origin, _, field = source.partition(".")
        if origin not in ("args", "receipt") or not field.isidentifier():
            raise ToolInvalid(f"tool {name}: compensation {argument} must come from args.NAME or receipt.NAME, not {source!r}")
    return Compensation(tool_name, dict(sources or {}))


def _fact_schema(returned: Any) -> dict[str, Any]:
    """The JSON Schema of a dataclass result; nothing for any other type, which says nothing about its fields."""
    is_fact = dataclasses.is_dataclass(returned) and isinstance(returned, type)
    return TypeAdapter(returned).json_schema() if is_fact else {}


def _hints(function: Callable[..., Awaitable[Any]]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise ToolInvalid(f"tool {function.__name__}: a type cannot be read: {error}") from error


def _check_parameter(tool_name: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> None:
    """Raises ToolInvalid unless the parameter is one named value whose type has a JSON Schema."""
    what = f"tool {tool_name}: parameter {parameter.name}"
    if parameter.name not in hints:
        raise ToolInvalid(f"{what} has no type")
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise ToolInvalid(f"{what} is not a single named value")
    if parameter.name.startswith("_") or hasattr(BaseModel, parameter.name):
        raise ToolInvalid(f"{what} has a reserved name")
    try:
        TypeAdapter(hints[parameter.name]).json_schema()
    except Exception as error:  # pydantic has several, one per way a type can be no JSON
        raise ToolInvalid(f"{what} has a type without JSON Schema: {hints[parameter.name]!r}") from error
