"""The planner: two witnesses, sticky scenarios, nothing invented."""

import math
from dataclasses import replace

import pytest

from agents.domain.errors import EngineUnavailable
from agents.domain.pack import Pack
from agents.domain.session import SessionState
from agents.domain.words import Act, Offer, Proposal
from agents.packs.loader import load_pack
from agents.planning.planner import Planner, fuse, opinion
from agents.ports import ModelRequest, ModelResult
from serving.scripted import ScriptedModel, TableRetriever

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
    planned = await planner(pack, {"x": ("coupon_request", Act.ASKS)}, said="damaged_item asks").plan(FRESH, "x", locale="en")
    assert (planned.plan.scenario, planned.plan.source) == ("coupon_request", "model")


def test_opinions_shift_probabilities_by_their_weight_and_stay_normalised() -> None:
    prior, opinion = {"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}
    weak, strong = fuse(prior, opinion, 0.2), fuse(prior, opinion, 1.0)
    assert 0.5 < weak["a"] < strong["a"] == pytest.approx(0.9)
    assert sum(weak.values()) == pytest.approx(1.0)
    assert fuse(prior, {}, 1.0) == pytest.approx(prior)


def result(text: str, *weighed: dict[str, float]) -> ModelResult:
    tokens = tuple({token: math.log(share) for token, share in each.items()} for each in weighed)
    return ModelResult(text, "stop", 1, len(tokens), token_logprobs=tokens)


def test_labels_that_begin_alike_are_told_apart_where_they_part() -> None:
    said = result("refund_late asks", {"refund": 0.7, "return": 0.2, "re": 0.1}, {"_late": 0.6, "_": 0.1, "_now": 0.3})
    found = opinion(said, {name: f"{name} " for name in ("refund_late", "refund_now", "return")})
    share = 0.1 / 3
    assert found == pytest.approx({"refund_late": share + 0.7 * 0.65, "refund_now": share + 0.7 * 0.35, "return": share + 0.2})


def test_a_label_that_begins_another_ends_where_the_act_begins() -> None:
    said = result("refund asks", {"refund": 1.0}, {" ": 0.2, " asks": 0.5, "_now": 0.3})
    assert opinion(said, {"refund": "refund ", "refund_now": "refund_now "}) == pytest.approx(
        {"refund": 0.7, "refund_now": 0.3}
    )


def test_the_act_is_read_after_the_scenario_that_was_written() -> None:
    said = result("coupon asks", {"cou": 0.9, "asks": 0.1}, {"pon": 1.0}, {" asks": 0.8, " a": 0.1, " greets": 0.1})
    labels = {act: f"coupon {act}" for act in ("asks", "accepts", "greets")}
    assert opinion(said, labels, known=6) == pytest.approx({"asks": 0.85, "accepts": 0.05, "greets": 0.1})


@pytest.mark.parametrize(("text", "expected"), [("b asks", {"a": 0.0, "b": 1.0}), ("nonsense", {"a": 0.0, "b": 0.0})])
def test_without_probabilities_the_written_label_counts_whole(text: str, expected: dict[str, float]) -> None:
    assert opinion(result(text), {"a": "a ", "b": "b "}) == expected
