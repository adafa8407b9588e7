"""Where a turn's time goes. Code marks a stage where it happens; who runs the turn gets the seconds, and a tracer the spans.

with staging(clock, tracer) as stages:      # the turn
    with stage("plan"):                     # anywhere below, in the same task
        ...
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from agents.ports import NO_TRACER, Clock, Tracer

T = TypeVar("T")
DIGITS = 5  # of a second: ten microseconds


@dataclass
class Stages:
    """`seconds` by stage, each second counted once: what a stage spends in one inside it is the inner one's. Stages of one turn
    follow or hold one another; none runs beside another."""

    clock: Clock
    tracer: Tracer = NO_TRACER
    seconds: dict[str, float] = field(default_factory=dict)
    _inside_s: float = 0.0  # spent so far in stages inside the one that is open

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began, around_s = self.clock.monotonic(), self._inside_s
        self._inside_s = 0.0
        try:
            with self.tracer.span(name):
                yield
        finally:
            took_s = self.clock.monotonic() - began
            self.seconds[name] = round(self.seconds.get(name, 0.0) + took_s - self._inside_s, DIGITS)
            self._inside_s = around_s + took_s


_running: ContextVar[Stages | None] = ContextVar("running_stages", default=None)


@contextmanager
def staging(clock: Clock, tracer: Tracer = NO_TRACER) -> Iterator[Stages]:
    """Stages marked inside this block, in this task, are told here."""
    stages = Stages(clock, tracer)
    token = _running.set(stages)
    try:
        yield stages
    finally:
        _running.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Mark a stage of the turn that runs; nothing where none does."""
    stages = _running.get()
    if stages is None:
        yield
        return
    with stages.stage(name):
        yield


async def staged(name: str, items: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """`items`; the wait for each is the stage, what is done with it is not."""
    async with aclosing(items):
        while True:
            with stage(name):
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
            yield item
