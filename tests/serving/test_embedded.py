"""A desk inside a program of one's own: the documented Python API."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.domain.events import TurnStarted
from agents.domain.words import Act, ActionStatus, Proposal, Ruling, ToolSpec
from agents.packs.loader import load_pack
from agents.ports import ToolCall
from serving.embedded import EmbeddedDesk
from serving.scripted import ScriptedModel, TableRetriever
from tests.fakes import SetClock

BROKEN, YES = "my mugs came broken, KW-1042", "yes please"
TABLE = {BROKEN: ("damaged_item", Act.ASKS), YES: ("damaged_item", Act.ACCEPTS)}


def silent() -> ScriptedModel:
    return ScriptedModel([])


async def test_a_customer_is_served_and_the_events_tell_how(tmp_path: Path) -> None:
    retriever = TableRetriever(load_pack("shop"), TABLE)
    async with EmbeddedDesk.open("shop", model=silent(), data_dir=tmp_path, retriever=retriever, clock=SetClock()) as desk:
        session_id = await desk.start_session("C-001", locale="en")
        offered = await desk.say(session_id, BROKEN)
        assert offered.open_offer is not None
        settled = await desk.say(session_id, YES, idempotency_key="k")
        assert [record.status for record in settled.actions] == [ActionStatus.DONE]
        assert await desk.say(session_id, YES, idempotency_key="k") == settled
        events = await desk.events(session_id)
        assert sum(isinstance(stored.event, TurnStarted) for stored in events) == 2


class OneTool:
    """A foreign benchmark's tool behind our port."""

    def __init__(self) -> None:
        self.refunded: list[Mapping[str, Any]] = []

    def specs(self) -> Sequence[ToolSpec]:
        return (ToolSpec("refund_full", "write", "", (), None, {}),)

    async def call(self, tool: str, args: Mapping[str, Any], call: ToolCall) -> Mapping[str, Any]:
        self.refunded.append(args)
        return {"refund_id": "R-1"}

    async def outcome(self, proposal: Proposal, call: ToolCall) -> Mapping[str, Any] | None:
        return None


async def test_foreign_tools_are_judged_by_the_packs_rules(tmp_path: Path) -> None:
    retriever = TableRetriever(load_pack("shop"), {})
    async with EmbeddedDesk.open(
        "shop", model=silent(), data_dir=tmp_path, retriever=retriever, back_office=OneTool(), clock=SetClock()
    ) as desk:
        proposal = Proposal("refund_full", {"order_id": "KW-1042", "amount_cents": 100, "send_back": True})
        verdict = desk.judge(proposal, scenario="small_talk", facts={}, confirmed=True)
        assert verdict.ruling is Ruling.DENY


@pytest.mark.parametrize(
    ("proposal", "mistaken"),
    [
        (Proposal("refund_full", {"order_id": "KW-1042", "amount_cents": 100}), ("send_back",)),
        (Proposal("refund_full", {"order_id": "KW-1042", "amount_cents": "1", "send_back": True}), ("amount_cents",)),
        (
            Proposal("refund_full", {"order_id": "KW-1", "amount_cents": 1, "send_back": True, "confirmed": True}),
            ("confirmed",),
        ),
        (Proposal("refund_full", {"order_id": "KW-1045", "amount_cents": 100, "send_back": True}), ("order_id",)),
        (Proposal("delete_everything", {}), ("action",)),
        (Proposal("get_order", {"order_id": "KW-1042"}), ("action",)),
    ],
)
async def test_arguments_no_tool_takes_and_strangers_are_denied_by_name(
    tmp_path: Path, proposal: Proposal, mistaken: tuple[str, ...]
) -> None:
    async with EmbeddedDesk.open(
        "shop", model=silent(), data_dir=tmp_path, retriever=TableRetriever(load_pack("shop"), {}), clock=SetClock()
    ) as desk:
        facts = {"order": {"id": "KW-1042", "customer_id": "C-001"}, "customer": {"id": "C-001"}}
        verdict = desk.judge(proposal, scenario="damaged_item", facts=facts, confirmed=True)
        assert (verdict.ruling, verdict.mistaken) == (Ruling.DENY, mistaken)


async def test_a_broken_pack_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no pack at"):
        async with EmbeddedDesk.open("nowhere", model=silent(), data_dir=tmp_path):
            pass


async def test_a_market_has_its_own_limits_for_the_same_clauses(tmp_path: Path) -> None:
    (tmp_path / "overrides.toml").write_text("[market.at]\ncoupon_late_days = 9\n", encoding="utf-8")
    pack = load_pack("shop", overrides=tmp_path / "overrides.toml")
    late = "a coupon, my order is late"
    retriever = TableRetriever(pack, {late: ("coupon_request", Act.ASKS)})
    async with EmbeddedDesk.open(pack, model=silent(), data_dir=tmp_path, retriever=retriever) as desk:
        offered = {}
        for market in ("", "at", "elsewhere"):
            session_id = await desk.start_session("C-002", market=market)
            offer = (await desk.say(session_id, late)).open_offer
            offered[market] = offer is not None and offer.proposal.args["reason"] == "delay"
        assert offered == {"": True, "at": False, "elsewhere": True}
