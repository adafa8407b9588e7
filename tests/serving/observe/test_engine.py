"""An engine's metrics: what a step tells, what calls of the replica come to, and gauges that do not go stale."""

import asyncio

import pytest

from agents.domain.errors import EngineUnavailable
from agents.ports import Message, ModelRequest
from serving.observe.engine import EngineMetrics, EngineStep, ServedModel
from serving.observe.traces import NO_TRACES
from serving.scripted import ScriptedModel

REQUEST = ModelRequest((Message("user", "hello"),), max_tokens=8)


def value(metrics: EngineMetrics, name: str, **labels: str) -> float | None:
    return metrics.book.registry.get_sample_value(f"keepword_engine_{name}", labels)


def test_counts_of_steps_add_up_and_gauges_are_the_last_ones() -> None:
    metrics = EngineMetrics()
    metrics.step(EngineStep(1, 2, 0.3, 100, 40, 1, 60, 1, (0.04,), (), (0.5,), {"stop": 1}, (0.03,)))
    metrics.step(EngineStep(2, 0, 0.4, decode_tokens=2, inter_token_s=(0.012, 7.0)))
    assert [value(metrics, name) for name in ("running", "waiting", "kv_cache_usage_ratio")] == [2, 0, 0.4]
    counts = [value(metrics, f"{name}_total") for name in ("prefix_queries", "prefix_hits", "preemptions", "steps")]
    assert counts == [100, 40, 1, 2]
    assert [value(metrics, "tokens_total", phase=phase) for phase in ("prefill", "decode")] == [60, 3]
    assert value(metrics, "requests_total", reason="stop") == 1
    assert value(metrics, "first_token_seconds_bucket", le="0.05") == 1
    assert value(metrics, "inter_token_seconds_bucket", le="0.015") == 1
    assert value(metrics, "inter_token_seconds_bucket", le="+Inf") == 2
    assert value(metrics, "inter_token_seconds_sum") == pytest.approx(7.012)
    assert value(metrics, "queued_seconds_sum") == 0.5
    assert value(metrics, "prefill_seconds_sum") == 0.03


def test_an_engine_that_has_nothing_left_shows_nothing_whatever_its_last_step_said() -> None:
    metrics, idle = EngineMetrics(), False
    metrics.watch_idle(lambda: idle)
    metrics.step(EngineStep(1, 1, 0.5))
    assert value(metrics, "running") == 1
    idle = True
    assert [value(metrics, name) for name in ("running", "waiting", "kv_cache_usage_ratio")] == [0, 0, 0]


async def test_calls_are_counted_by_how_they_ended_and_none_stays_in_flight() -> None:
    def fail(_request: ModelRequest) -> str:
        raise EngineUnavailable("gone")

    metrics = EngineMetrics()
    model = ServedModel(ScriptedModel(["one", *["two words"] * 3]), metrics, NO_TRACES)
    await model.generate(REQUEST)
    async for _ in model.stream(REQUEST):
        assert value(metrics, "calls_in_flight") == 1
    left = model.stream(REQUEST)
    await anext(left)
    await left.aclose()
    waiting = model.stream(REQUEST)
    await anext(waiting)
    with pytest.raises(asyncio.CancelledError):  # what Ray raises inside when the caller cancels
        await waiting.athrow(asyncio.CancelledError())
    with pytest.raises(EngineUnavailable):
        await ServedModel(ScriptedModel(fail), metrics, NO_TRACES).generate(REQUEST)
    assert value(metrics, "calls_in_flight") == 0
    for call, outcome in (("generate", "done"), ("stream", "done"), ("generate", "engine-unavailable")):
        assert value(metrics, "calls_total", call=call, outcome=outcome) == 1
    assert value(metrics, "calls_total", call="stream", outcome="left") == 2


def test_a_model_whose_engine_tells_its_steps_is_asked_to() -> None:
    class Telling(ScriptedModel):
        def report_to(self, metrics: EngineMetrics) -> None:
            metrics.step(EngineStep(4, 0, 0.0))

    metrics = EngineMetrics()
    ServedModel(Telling([]), metrics, NO_TRACES)
    assert value(metrics, "running") == 4
