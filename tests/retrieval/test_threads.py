"""Searches in threads: bounded, in order, in the caller's context."""

import asyncio
import threading
import time
from contextvars import ContextVar

import pytest

from retrieval.threads import AT_ONCE, in_search_thread

who: ContextVar[str] = ContextVar("who")


async def test_no_more_run_at_once_than_there_are_cores_to_spare_and_the_first_comes_first() -> None:
    lock, now, most, begun = threading.Lock(), 0, 0, list[int]()

    def work(number: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            begun.append(number)
        time.sleep(0.01)
        with lock:
            now -= 1
        return number

    wanted = range(4 * AT_ONCE)
    assert await asyncio.gather(*(in_search_thread(work, number) for number in wanted)) == list(wanted)
    assert most <= AT_ONCE
    assert all(abs(number - place) < AT_ONCE for place, number in enumerate(begun))


async def test_it_runs_in_the_callers_context_and_raises_what_the_work_raises() -> None:
    who.set("the caller")
    assert await in_search_thread(who.get) == "the caller"
    with pytest.raises(ValueError, match="invalid literal"):
        await in_search_thread(int, "one")


async def test_a_caller_that_left_is_not_worked_for() -> None:
    done, go = list[str](), threading.Event()
    holding = [asyncio.create_task(in_search_thread(go.wait)) for _ in range(AT_ONCE)]
    await asyncio.sleep(0.01)
    left = asyncio.create_task(in_search_thread(done.append, "left"))
    stays = asyncio.create_task(in_search_thread(done.append, "stays"))
    await asyncio.sleep(0.01)
    left.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*holding, stays)
    assert done == ["stays"]
