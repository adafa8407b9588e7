"""The time a simulation runs in: an asyncio loop's own, or a virtual one that jumps from event to event."""

import asyncio
import heapq
import selectors
from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """What asyncio's event loop offers. `time` and `when` in seconds of one clock."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], Any], /) -> Any: ...


class VirtualTime:
    """Runs callbacks in the order of their times, those of one time in the order they were asked for. Deterministic."""

    def __init__(self) -> None:
        self._now = 0.0
        self._queue: list[tuple[float, int, Callable[[], Any]]] = []
        self._asked = 0

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], Any], /) -> None:
        self._asked += 1
        heapq.heappush(self._queue, (max(when, self._now), self._asked, callback))

    def run(self, until: float = float("inf")) -> None:
        """Until nothing is left to do, or the next event is after `until`."""
        while self._queue and self._queue[0][0] <= until:
            self._now, _order, callback = heapq.heappop(self._queue)
            callback()
        if until != float("inf"):
            self._now = max(self._now, until)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits for a timer: when nothing else is to do its clock jumps to the next one. Sockets and
    threads are looked at in passing only, so it is for code that waits on nothing but the loop."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class _Jumping(selectors.DefaultSelector):
    """Takes the time a loop would wait as passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            self.now += timeout
        return super().select(0 if timeout is not None else None)
