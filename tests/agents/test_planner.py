"""The planner: two witnesses, sticky scenarios, nothing invented."""

from dataclasses import replace

import pytest

from agents.domain.errors import EngineUnavailable
from agents.domain.pack import Pack
from agents.domain.session import SessionState
from agents.domain.words import Act, Offer, Proposal
from agents.packs.loader import load_pack
from agents.planning.planner import Planner, fuse
from agents.ports import ModelRequest
from serving.scripted import ScriptedModel
from tests.fakes import TableRetriever

FRESH = SessionState(session_id="s", pack="shop", locale="en")
OFFER = Offer("of_1", "damaged_item", 0, Proposal("refund_partial", {}), None, {}, {}, ())


@pytest.fixture(scope="module")
def pack() -> Pack:
    return load_pack("shop")


def planner(pack: Pack, table: dict[str, tuple[str, Act]], said: str | None = None) -> Planner:
    def script(_request: ModelRequest) -> str:
        if said is None:
            raise EngineUnavailable("down")
        return said

    return Planner(pack, ScriptedModel(script), TableRetriever(pack, table))


async def test_a_greeting_does_not_hold_the_next_message_in_small_talk(pack: Pack) -> None:
    table = {"broken mug KW-1042": ("damaged_item", Act.SUPPLIES)}
    state = replace(FRESH, scenario="small_talk")
    planned = await planner(pack, table).plan(state, "broken mug KW-1042", locale="en")
    assert planned.plan.scenario == "damaged_item"
    assert planned.plan.slots == {"order_id": "KW-1042"}


async def test_a_yes_belongs_to_the_scenario_of_the_open_offer(pack: Pack) -> None:
    table = {"yes": ("small_talk", Act.ACCEPTS)}
    state = replace(FRESH, scenario="order_status", open_offer=OFFER, slots={"order_id": "KW-1042"})
    planned = await planner(pack, table).plan(state, "yes", locale="en")
    assert (planned.plan.scenario, planned.plan.act) == ("damaged_item", Act.ACCEPTS)
    assert planned.plan.slots == {"order_id": "KW-1042"}


async def test_an_id_the_desk_asked_for_stays_in_its_scenario(pack: Pack) -> None:
    table = {"KW-1042": ("order_status", Act.SUPPLIES)}
    planned = await planner(pack, table).plan(replace(FRESH, scenario="cancel_order"), "KW-1042", locale="en")
    assert planned.plan.scenario == "cancel_order"
    assert planned.plan.missing == ()


async def test_two_different_ids_are_asked_about_instead_of_guessed(pack: Pack) -> None:
    text = "cancel KW-1042 and KW-1043"
    planned = await planner(pack, {text: ("cancel_order", Act.ASKS)}).plan(FRESH, text, locale="en")
    assert planned.plan.slots == {}
    assert planned.plan.missing == ("order_id",)


async def test_without_a_model_retrieval_decides_alone_and_says_so(pack: Pack) -> None:
    planned = await planner(pack, {"x": ("coupon_request", Act.ASKS)}).plan(FRESH, "x", locale="en")
    assert (planned.plan.scenario, planned.plan.source) == ("coupon_request", "retrieval")


async def test_a_sure_retriever_is_not_overruled_by_a_weak_model(pack: Pack) -> None:
    planned = await planner(pack, {"x": ("coupon_request", Act.ASKS)}, said="D asks").plan(FRESH, "x", locale="en")
    assert (planned.plan.scenario, planned.plan.source) == ("coupon_request", "model")


def test_opinions_shift_probabilities_by_their_weight_and_stay_normalised() -> None:
    prior, opinion = {"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}
    weak, strong = fuse(prior, opinion, 0.2), fuse(prior, opinion, 1.0)
    assert 0.5 < weak["a"] < strong["a"] == pytest.approx(0.9)
    assert sum(weak.values()) == pytest.approx(1.0)
    assert fuse(prior, {}, 1.0) == pytest.approx(prior)
