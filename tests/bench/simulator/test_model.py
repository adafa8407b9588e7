"""The simulated model keeps the contract of the `Model` port, in virtual time."""

import asyncio
import json
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any, TypeVar

import pytest

from agents.domain.errors import BadInput, DeadlineExceeded, TruncatedOutput
from agents.domain.words import Act
from agents.packs.loader import load_pack
from agents.planning.prompt import plan_structure
from agents.ports import Message, ModelRequest, ModelResult, Structure
from agents.reply.drafter import COURTESY_TASK, LANGUAGES
from agents.reply.verifier import Evidence, objection
from bench.simulator.content import COURTESY, COURTESY_ZH
from bench.simulator.model import SimulatedModel
from bench.simulator.profile import load_profile
from bench.simulator.timing import VirtualLoop
from serving.observe.engine import EngineMetrics
from serving.observe.top.samples import Reading

T = TypeVar("T")
CPU = load_profile("cpu")


def virtually(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def asked(text: str = "hello", *, max_tokens: int = 16, deadline_s: float = 600.0, **more: Any) -> ModelRequest:
    return ModelRequest((Message("user", text),), max_tokens=max_tokens, deadline_s=deadline_s, **more)


def test_a_stream_gives_its_tokens_step_by_step_and_ends_with_the_result() -> None:
    async def work() -> list[tuple[float, str]]:
        loop, model = asyncio.get_running_loop(), SimulatedModel(CPU)
        return [(loop.time(), chunk.text) async for chunk in model.stream(asked())]

    chunks = virtually(work())
    assert len(chunks) == 16
    gaps = [after - before for (before, _), (after, _) in pairwise(chunks)]
    assert min(gaps) > 0.02


def test_generate_and_stream_say_the_same_and_take_the_same_time() -> None:
    async def work() -> tuple[ModelResult, str]:
        text = "".join([chunk.text async for chunk in SimulatedModel(CPU).stream(asked())])
        return await SimulatedModel(CPU).generate(asked()), text

    result, streamed = virtually(work())
    assert result.text == streamed
    assert result.completion_tokens == 16
    assert 0 < result.first_token_s < result.total_s


@pytest.mark.parametrize(
    "structure",
    [
        Structure("choice", '["yes","no"]'),
        Structure("regex", r"[a-z]{3,8}-\d{2}"),
        Structure("regex", "[a-z ]*x?"),
        Structure(
            "json", json.dumps({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 17}}})
        ),
    ],
)
def test_a_structured_answer_is_valid_and_comes_whole(structure: Structure) -> None:
    async def work() -> list[str]:
        model = SimulatedModel(CPU)
        return [c.text async for c in model.stream(asked(max_tokens=400, structure=structure, logprobs=5))]

    assert len(virtually(work())) == 1  # the result's own check has passed


def test_a_plan_is_the_nearest_exemplars_label() -> None:
    structure = plan_structure(load_pack("shop"))
    shown = Message("user", "a"), Message("assistant", "coupon_request asks"), Message("user", "b")
    label = f"missing_parcel {Act.ASKS.value}"
    messages = (*shown, Message("assistant", label), Message("user", "c"))
    result = virtually(SimulatedModel(CPU).generate(ModelRequest(messages, max_tokens=24, structure=structure, logprobs=20)))
    assert result.text == label
    assert "".join(next(iter(weighed)) for weighed in result.token_logprobs) == label


@pytest.mark.parametrize(("locale", "sentences"), [("en", COURTESY), ("zh", COURTESY_ZH)])
def test_a_draft_is_courtesy_the_verifier_lets_through(locale: str, sentences: tuple[str, ...]) -> None:
    system = Message("system", f"{COURTESY_TASK} {LANGUAGES[locale]}.")
    request = ModelRequest((system, Message("user", "hello")), max_tokens=36, deadline_s=60)
    result = virtually(SimulatedModel(CPU).generate(request))
    assert result.text in sentences
    assert result.finish_reason == "stop"
    for sentence in sentences:
        assert objection(sentence, Evidence(locale, ("A point.",), "hello")) is None, sentence


def test_leaving_a_stream_frees_the_engine() -> None:
    async def work() -> tuple[int, int]:
        model = SimulatedModel(CPU)
        stream = model.stream(asked(max_tokens=100))
        await anext(stream)
        before = model.stats().num_requests_running
        await stream.aclose()
        return before, model.stats().num_requests_running + model.stats().num_requests_waiting

    assert virtually(work()) == (1, 0)


def test_a_deadline_ends_the_request_and_frees_the_engine() -> None:
    async def work() -> int:
        model = SimulatedModel(CPU)
        with pytest.raises(DeadlineExceeded):
            await model.generate(asked(max_tokens=1000, deadline_s=1.0))
        assert asyncio.get_running_loop().time() == pytest.approx(1.0)
        return model.running()

    assert virtually(work()) == 0


def test_what_the_engine_cannot_take_is_refused() -> None:
    with pytest.raises(BadInput):
        virtually(SimulatedModel(CPU).generate(asked("word " * 9000)))
    with pytest.raises(BadInput):
        virtually(SimulatedModel(CPU).generate(asked(structure=Structure("regex", "("))))
    with pytest.raises(TruncatedOutput):
        virtually(SimulatedModel(CPU).generate(asked(max_tokens=1, structure=Structure("regex", "[a-z]{40}-[0-9]{9}"))))


def test_an_answer_ends_before_its_stop_string() -> None:
    result = virtually(SimulatedModel(CPU).generate(asked(max_tokens=64)))
    stop = result.text.split()[5]
    stopped = virtually(SimulatedModel(CPU).generate(asked(max_tokens=64, stop=(f" {stop}",))))
    assert result.text.startswith(stopped.text)
    assert stop not in stopped.text
    assert stopped.finish_reason == "stop"


def test_prompts_that_begin_alike_share_blocks_across_sessions() -> None:
    async def work() -> tuple[int, int]:
        model = SimulatedModel(CPU)
        system = Message("system", "You serve customers kindly. " * 60)
        first, second = [
            await model.generate(ModelRequest((system, Message("user", text)), max_tokens=2, deadline_s=60))
            for text in ("my parcel is lost", "a coupon please")
        ]
        return first.cached_tokens, second.cached_tokens

    cold, warm = virtually(work())
    assert cold == 0
    assert warm > 200


def test_it_tells_its_steps_as_a_real_engine_does() -> None:
    metrics = EngineMetrics()

    async def work() -> None:
        model = SimulatedModel(CPU)
        model.report_to(metrics)
        await asyncio.gather(model.generate(asked(max_tokens=4)), model.generate(asked("and you?", max_tokens=4)))
        await model.generate(asked("bye", max_tokens=1))

    virtually(work())
    seen = Reading.of(metrics.book.exposition().decode(), 0.0)
    assert seen.sum("keepword_engine_tokens_total", phase="decode") > 0
    assert seen.sum("keepword_engine_first_token_seconds_count") == 3
    assert seen.by("keepword_engine_requests_total", "reason") == {"length": 3.0}
