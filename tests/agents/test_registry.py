"""Tools from typed functions: their schemas, the errors of functions that cannot be one, and calls through the back office."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from types import ModuleType
from typing import Any, Literal

import pytest

from agents.domain.errors import BadInput, NotFound, ToolFailed, ToolRefused, ToolUnknown
from agents.domain.words import Proposal
from agents.ports import ToolCall
from agents.tools.backoffice import PackBackOffice
from agents.tools.registry import ToolInvalid, collect, tool

CALL = ToolCall("C-001", datetime(2026, 11, 23, tzinfo=UTC), "of_1")


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Parcel:
    id: str
    sent_on: date
    colour: Colour
    weights: tuple[int, ...] = ()


@dataclass
class Shelf:
    """What the tools of these tests receive."""

    started: list[str] = field(default_factory=list)


@tool(kind="read", requires=["order_id"], provides="parcel")
async def get_parcel(shelf: Shelf, call: ToolCall, order_id: str, detail: Literal["short", "long"] = "short") -> Parcel:
    """Where a parcel is."""
    return Parcel(order_id, date(2026, 11, 1), Colour.RED, (1, 2))


@tool(kind="write", timeout_s=0.02)
async def hang(shelf: Shelf, call: ToolCall, on: date, cents: int) -> Mapping[str, Any]:
    """Never answers."""
    shelf.started.append(on.isoformat())
    await asyncio.Event().wait()
    return {}


@tool(kind="read", provides="slow", timeout_s=0.02)
async def hang_reading(shelf: Shelf, call: ToolCall) -> Mapping[str, Any]:
    """Never answers."""
    await asyncio.Event().wait()
    return {}


@tool(kind="read", provides="broken")
async def break_reading(shelf: Shelf, call: ToolCall) -> Mapping[str, Any]:
    """Breaks."""
    raise ZeroDivisionError


@tool(kind="write")
async def break_writing(shelf: Shelf, call: ToolCall) -> Mapping[str, Any]:
    """Breaks."""
    raise ConnectionResetError


@tool(kind="write")
async def refuse(shelf: Shelf, call: ToolCall) -> Mapping[str, Any]:
    """Says no."""
    raise ToolRefused("closed on Mondays")


def office(lookup: Callable[..., Any] | None = None) -> PackBackOffice:
    async def nothing(shelf: Shelf, call: ToolCall) -> None:
        return None

    module = ModuleType("shelf_tools")
    for function in (get_parcel, hang, hang_reading, break_reading, break_writing, refuse):
        setattr(module, function.__name__, function)
    vars(module)["lookup_receipt"] = lookup or nothing
    return PackBackOffice(module, Shelf())


async def test_a_tool_stays_callable_as_it_is() -> None:
    assert (await get_parcel(Shelf(), CALL, "KW-1")).id == "KW-1"


def test_the_schema_comes_from_the_signature_without_back_office_and_call() -> None:
    spec = next(spec for spec in office().specs() if spec.name == "get_parcel")
    assert set(spec.parameters["properties"]) == {"order_id", "detail"}
    assert spec.parameters["required"] == ["order_id"]
    assert spec.parameters["additionalProperties"] is False
    assert (spec.kind, spec.requires, spec.provides, spec.description) == (
        "read",
        ("order_id",),
        "parcel",
        "Where a parcel is.",
    )


def test_tools_are_collected_by_name() -> None:
    names = [spec.name for spec in office().specs()]
    assert names == sorted(names)
    assert collect(ModuleType("empty")) == ()


async def untyped(shelf: Shelf, call: ToolCall, order_id) -> Parcel:  # type: ignore[no-untyped-def]
    raise ToolRefused("never called")


async def socketed(shelf: Shelf, call: ToolCall, handle: asyncio.Event) -> Parcel:
    raise ToolRefused("never called")


async def spread(shelf: Shelf, call: ToolCall, *order_id: str) -> Parcel:
    raise ToolRefused("never called")


async def reserved(shelf: Shelf, call: ToolCall, schema: str) -> Parcel:
    raise ToolRefused("never called")


async def unreadable(shelf: Shelf, call: ToolCall, order_id: "Nowhere") -> Parcel:  # type: ignore[name-defined]  # noqa: F821
    raise ToolRefused("never called")


@pytest.mark.parametrize(
    ("function", "named"),
    [(untyped, "order_id"), (socketed, "handle"), (spread, "order_id"), (reserved, "schema"), (unreadable, "Nowhere")],
)
def test_a_parameter_that_cannot_be_one_is_named_with_its_tool(function: Callable[..., Any], named: str) -> None:
    with pytest.raises(ToolInvalid, match=rf"{function.__name__}.*{named}"):
        tool(kind="write")(function)


def test_a_read_must_say_which_fact_it_provides() -> None:
    with pytest.raises(ToolInvalid, match="provides"):
        tool(kind="read")(socketed)


async def test_a_read_gives_json_values() -> None:
    fields = await office().call("get_parcel", {"order_id": "KW-1"}, CALL)
    assert fields == {"id": "KW-1", "sent_on": "2026-11-01", "colour": "red", "weights": [1, 2]}


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({}, "order_id"),
        ({"order_id": 7}, "order_id"),
        ({"order_id": "KW-1", "detail": "medium"}, "detail"),
        ({"order_id": "KW-1", "customer_id": "C-002"}, "customer_id"),
        ({"order_id": {"KW-1"}}, "get_parcel"),
        ({"order_id": float("nan")}, "get_parcel"),
        ({"order_id": "\ud800"}, "get_parcel"),
    ],
)
async def test_bad_arguments_name_their_field(args: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        await office().call("get_parcel", args, CALL)
    assert caught.value.field == field


async def test_a_boolean_is_no_amount() -> None:
    with pytest.raises(BadInput):
        await office().call("hang", {"on": "2026-11-01", "cents": True}, CALL)


async def test_an_unknown_tool_is_not_found() -> None:
    with pytest.raises(NotFound):
        await office().call("get_moon", {}, CALL)


@pytest.mark.parametrize("name", ["hang_reading", "break_reading"])
async def test_a_read_that_is_late_or_breaks_certainly_did_nothing(name: str) -> None:
    with pytest.raises(ToolFailed):
        await office().call(name, {}, CALL)


@pytest.mark.parametrize(("name", "args"), [("hang", {"on": "2026-11-01", "cents": 1}), ("break_writing", {})])
async def test_a_write_that_is_late_or_breaks_may_have_happened(name: str, args: dict[str, Any]) -> None:
    with pytest.raises(ToolUnknown):
        await office().call(name, args, CALL)


async def test_a_tools_own_refusal_passes_through() -> None:
    with pytest.raises(ToolRefused, match="closed on Mondays"):
        await office().call("refuse", {}, CALL)


async def test_the_outcome_is_the_receipt_under_the_key() -> None:
    async def lookup(shelf: Shelf, call: ToolCall) -> Mapping[str, Any] | None:
        return {"on": date(2026, 11, 2)} if call.key == "of_1" else None

    assert await office(lookup).outcome(Proposal("hang", {}), CALL) == {"on": "2026-11-02"}
    assert await office(lookup).outcome(Proposal("hang", {}), ToolCall("C-001", CALL.now, "of_2")) is None


async def test_a_receipt_that_cannot_be_looked_up_is_unknown() -> None:
    async def broken(shelf: Shelf, call: ToolCall) -> None:
        raise ConnectionResetError

    async def endless(shelf: Shelf, call: ToolCall) -> None:
        await asyncio.Event().wait()

    for lookup in (broken, endless):
        with pytest.raises(ToolUnknown):
            await office(lookup).outcome(Proposal("hang", {}), CALL)
