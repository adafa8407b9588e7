"""Admission of raw generations."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from agents.domain.errors import Overloaded
from serving.admission.admission import Admission
from serving.admission.gate import Gate, GateLimits
from serving.openai.access import AdmittedModel, estimated
from serving.openai.contract import SSE, Call, Head, Load, Part
from tests.fakes import SetClock

CALL = Call("chat", {"model": "m", "messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 100})


class Waiting:
    """A raw model that answers when it is let."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def answer(self, call: Call) -> AsyncGenerator[Part, None]:
        yield Head(SSE)
        await self.go_on.wait()

    async def load(self) -> Load:
        return Load(0)


def admission(*, at_once: float, queued: int) -> Admission:
    clock = SetClock()
    limits = GateLimits(600.0, queued, in_flight_first=at_once, in_flight_most=at_once)
    return Admission(Gate(limits, clock.monotonic), clock)


def test_a_limit_of_thousands_of_tokens_is_no_forecast() -> None:
    assert estimated(CALL.body) == (100, 100)
    assert estimated({**CALL.body, "max_tokens": 100_000, "n": 2})[1] == 512
    assert estimated({"prompt": "abcd" * 10})[0] == 10


async def test_more_than_the_model_takes_at_once_wait_and_more_than_may_wait_are_refused() -> None:
    model = Waiting()
    admitted = AdmittedModel(model, admission(at_once=2, queued=1))
    running = [admitted.answer(CALL) for _ in range(2)]
    for each in running:
        assert await anext(each) == Head(SSE)
    waiting = asyncio.create_task(anext(admitted.answer(CALL)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await anext(admitted.answer(CALL))
    assert not waiting.done()
    await running[0].aclose()
    assert await asyncio.wait_for(waiting, 5) == Head(SSE)
    await running[1].aclose()


async def test_a_client_that_leaves_while_it_waits_gives_up_its_place() -> None:
    gate = admission(at_once=1, queued=5)
    admitted = AdmittedModel(Waiting(), gate)
    async with aclosing(admitted.answer(CALL)) as first:
        await anext(first)
        waiting = asyncio.create_task(anext(admitted.answer(CALL)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert gate.gate.in_flight == 1
    assert gate.gate.in_flight == 0
