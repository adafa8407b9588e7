"""The whole stack runs on a simulated engine: Ray Serve, desk and all, as a customer meets it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.stack import Stack, running_stack
from bench.visitor import Visitor

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("simulated"), engine="simulated:l4-qwen3-8b-fp8") as running:
        yield running


def test_a_visit_is_planned_and_answered_at_the_speed_of_the_simulated_card(stack: Stack) -> None:
    with Visitor(stack.url, customer_id="C-001", locale="en") as visitor:
        turns = [visitor.say(message) for message in ("Hello!", "The mugs from KW-1042 came in pieces", "fine, yes")]
    assert [turn.of("plan")[0]["plan"]["scenario"] for turn in turns] == ["small_talk", "damaged_item", "damaged_item"]
    assert turns[0].of("plan")[0]["plan"]["source"] == "model"
    assert re.search(r"refunded \d+\.\d\d EUR", turns[2].reply)
    assert turns[1].llm_calls == 2
    sentences = [sentence["source"] for turn in turns for sentence in turn.of("reply.sentence")]
    assert "model" in sentences, "the drafts reach the customer: the verifier finds nothing against them"
    # Two calls, some 18 steps of 43 ms: less would mean that no engine was simulated.
    assert turns[1].done_s > 0.4


def test_an_engine_of_another_sort_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="simulated:PROFILE"), running_stack(tmp_path, engine="vllm"):
        pass
