"""A recorded turn played again comes to the same events; under another policy the decisions that would change are listed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agents.domain.words import Act, Ruling
from agents.packs.loader import load_pack, tools_module
from agents.ports import ModelRequest
from agents.tools.registry import collect
from serving.embedded import EmbeddedDesk
from serving.replay import changes, differences
from serving.scripted import ScriptedModel, TableRetriever
from tests.fakes import SetClock

MESSAGES = ("my mugs came broken, KW-1042", "no, more", "yes please", "a human please", "KW-1077 is broken")
TABLE = dict(
    zip(
        MESSAGES,
        [
            ("damaged_item", Act.ASKS),
            ("damaged_item", Act.REJECTS),
            ("damaged_item", Act.ACCEPTS),
            ("human_request", Act.ASKS),
            ("damaged_item", Act.ASKS),
        ],
        strict=True,
    )
)


def drafts(request: ModelRequest) -> str:
    return "damaged_item asks" if request.structure is not None else "I'm sorry to hear that."


@pytest.fixture
async def recorded(tmp_path: Path) -> Any:
    pack = load_pack("shop")
    retriever = TableRetriever(pack, TABLE)
    async with EmbeddedDesk.open(
        pack, model=ScriptedModel(drafts), data_dir=tmp_path, retriever=retriever, clock=SetClock()
    ) as desk:
        await desk.start_session("C-001", session_id="ses_1", locale="en")
        for message in MESSAGES:
            await desk.say("ses_1", message)
        yield await desk.events("ses_1")


def specs() -> Any:
    return [bound.spec for bound in collect(tools_module(load_pack("shop").path))]


async def test_every_turn_comes_to_the_same_events(recorded: Any) -> None:
    played = [each async for each in differences(load_pack("shop"), specs(), "ses_1", recorded)]
    assert [found for _, found in played] == [[]] * len(MESSAGES)


async def test_a_changed_tape_is_noticed(recorded: Any) -> None:
    for stored in recorded:
        if stored.event.type == "tape":
            for question, answers in stored.event.tape.items():
                if question.startswith("call get_payment"):
                    answers[0]["paid_cents"] = 1
    played = [found async for _, found in differences(load_pack("shop"), specs(), "ses_1", recorded)]
    assert any(played)


@pytest.mark.parametrize(
    ("parameters", "changed"), [({}, False), ({"damage_window_days": 1}, True), ({"partial_first_percent": 10}, True)]
)
async def test_decisions_another_policy_would_take_are_listed(
    recorded: Any, parameters: Mapping[str, Any], changed: bool
) -> None:
    found = await changes(load_pack("shop", parameters=parameters), specs(), "ses_1", recorded)
    assert bool(found) is changed
    if "damage_window_days" in parameters:
        assert any(each.now is not None and each.now.ruling is Ruling.DENY for each in found)
