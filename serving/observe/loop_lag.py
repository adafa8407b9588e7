"""How late the event loop wakes whoever sleeps: what every request of this process waits besides."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from serving.observe.book import Book

EVERY_S = 0.05


class LoopLag:
    """`watch` runs for ever; cancel it to stop."""

    def __init__(self, book: Book, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._pause = pause
        self._lag = book.histogram(
            "keepword_event_loop_lag_seconds", f"How late the event loop woke a sleeper, asked every {EVERY_S:g} s."
        )

    async def watch(self, *hear: Callable[[float], None]) -> None:
        """Each of `hear` is told every lag, in seconds."""
        while True:
            began = perf_counter()
            await self._pause(EVERY_S)
            lag_s = max(0.0, perf_counter() - began - EVERY_S)
            self._lag.observe(lag_s)
            for told in hear:
                told(lag_s)
