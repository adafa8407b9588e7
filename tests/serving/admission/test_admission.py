"""Waiting for a place: cancelled, left, timed out; and what a permit costs."""

import asyncio

import pytest

from agents.domain.errors import Overloaded
from serving.admission.admission import Admission, CallerLeft
from serving.admission.gate import Gate, GateLimits
from serving.admission.tickets import Priority, Ticket, weighed
from serving.clock import SystemClock


def admission(size: int = 1) -> Admission:
    clock = SystemClock()
    return Admission(Gate(GateLimits(in_flight_first=size, in_flight_most=size), clock.monotonic), clock)


async def waiting(one: Admission, count: int) -> None:
    """Let the other tasks run: then so many wait."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert one.gate.waiting(Priority.CUSTOMER) == count


async def test_who_waits_is_let_in_when_the_place_is_free() -> None:
    one = admission()
    async with one.admitted(Ticket("a")):
        second = asyncio.create_task(one.enter(Ticket("b")))
        await waiting(one, 1)
        assert not second.done()
    permit = await second
    assert one.gate.in_flight == 1
    permit.leave()


async def test_an_error_inside_gives_the_place_back() -> None:
    one = admission()
    with pytest.raises(RuntimeError):
        async with one.admitted(Ticket("a")):
            raise RuntimeError
    assert one.gate.in_flight == 0


async def test_cancelling_gives_up_the_place_in_the_queue() -> None:
    one = admission()
    async with one.admitted(Ticket("a")):
        second = asyncio.create_task(one.enter(Ticket("b")))
        await waiting(one, 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await waiting(one, 0)
    assert one.gate.in_flight == 0


async def test_a_client_that_leaves_gives_up_its_place_in_the_queue() -> None:
    one, gone = admission(), asyncio.Event()

    async def left() -> None:
        await gone.wait()

    async with one.admitted(Ticket("a")):
        second = asyncio.create_task(one.enter(Ticket("b"), left))
        await waiting(one, 1)
        gone.set()
        with pytest.raises(CallerLeft):
            await second
        await waiting(one, 0)


async def test_who_waited_until_the_deadline_is_refused() -> None:
    one = admission()
    async with one.admitted(Ticket("a")):
        with pytest.raises(Overloaded):
            await one.enter(Ticket("b", deadline_s=0.01))


async def test_a_permit_adds_up_what_its_generations_cost() -> None:
    one = admission()
    async with one.admitted(Ticket("a")) as permit:
        permit.spend(prompt=100, completion=10, cached=60)
        permit.spend(prompt=20, completion=5)
        assert 0 < permit.remaining_s() <= 30
    assert one.gate.pace.tokens == weighed(prompt=100, completion=10, cached=60) + weighed(prompt=20, completion=5) == 45
