"""The one entry for work that uses the engine:

async with admission.admitted(Ticket.of(caller, deadline_s=30, tokens=estimate)) as permit:
    ...
    permit.spend(prompt=512, completion=128)
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from agents.domain.brownout import Brownout
from agents.domain.errors import KeepwordError
from agents.ports import Clock
from serving.admission.gate import Gate
from serving.admission.place import Place, State
from serving.admission.tickets import Ticket, weighed

Gone = Callable[[], Awaitable[None]]
"""Returns when the client has left."""


class CallerLeft(KeepwordError):
    """The client left while its work waited; nobody reads this."""

    type = "caller-left"


class Permit:
    """Work that was let in. Say what it cost, then leave; leaving twice is leaving once."""

    def __init__(self, gate: Gate, place: Place, clock: Clock) -> None:
        self._gate, self._place, self._clock = gate, place, clock
        self._tokens: float | None = None

    @property
    def waited_s(self) -> float:
        return self._place.admitted_s - self._place.offered_s

    def remaining_s(self) -> float:
        """Until the deadline; negative once it has passed."""
        return self._place.due_s - self._clock.monotonic()

    def spend(self, *, prompt: int, completion: int, cached: int = 0) -> None:
        """Tokens of one generation. Call it for each."""
        self._tokens = (self._tokens or 0.0) + weighed(prompt=prompt, completion=completion, cached=cached)

    def leave(self, *, unused: bool = False, level: Brownout = Brownout.NORMAL) -> None:
        """Give the place to the next. Work that never said what it cost is charged its estimate, unless it was not done.
        `level`: what brown-out left of it."""
        self._gate.leave(self._place, 0.0 if unused else self._tokens, level)


class Admission:
    """One for each desk replica."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self.gate, self._clock = gate, clock

    async def enter(self, ticket: Ticket, gone: Gone | None = None) -> Permit:
        """Wait for a place. Cancelling gives it up, and so does `gone` when it returns: then raises CallerLeft. Raises
        Overloaded, at once or as soon as it cannot be in time."""
        loop = asyncio.get_running_loop()
        changed: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not changed.done():
                changed.set_result(None)

        place = self.gate.offer(ticket, wake)
        if place.state is State.WAITING:
            timer = loop.call_later(ticket.deadline_s, self.gate.expire, place)
            try:
                await _first(changed, gone)
            except BaseException:
                self.gate.leave(place, 0.0)
                raise
            finally:
                timer.cancel()
        if place.refusal is not None:
            raise place.refusal
        return Permit(self.gate, place, self._clock)

    @asynccontextmanager
    async def admitted(self, ticket: Ticket) -> AsyncGenerator[Permit, None]:
        """`enter`, and leave at the end whatever happened."""
        permit = await self.enter(ticket)
        try:
            yield permit
        finally:
            permit.leave()


async def _first(changed: "asyncio.Future[None]", gone: Gone | None) -> None:
    """Wait for `changed`. Raises CallerLeft when `gone` was first."""
    if gone is None:
        await changed
        return
    leaving = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({changed, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    if not changed.done():
        raise CallerLeft("the client left while its turn waited")
