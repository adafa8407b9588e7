"""What the generator needs of the service it loads: customers who sit down and say things."""

import asyncio
import math
from typing import Protocol

import aiohttp

from bench.load.outcome import Outcome


class Customer(Protocol):
    """One customer. `resting_place` of the protocol: between `say`s nothing is in flight."""

    @property
    def left(self) -> bool:
        """Whether this visit has nothing more to say."""
        ...

    async def say(self, outcome: Outcome) -> None:
        """Send the next message and fill `outcome` in as the answer comes. Raises nothing the network does; a refusal
        leaves the message to be said again."""
        ...


class Target(Protocol):
    async def seat(self) -> Customer:
        """A new customer who can speak. Raises aiohttp.ClientError, SeatRefused or TimeoutError."""
        ...


class SeatRefused(RuntimeError):
    """The service did not open a session; `kind` says how it answered."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def kind_of(error: BaseException) -> str:
    """One short word for a failure of the network."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect"
    return "cut" if isinstance(error, aiohttp.ClientError | OSError) else type(error).__name__


def refusal(response: aiohttp.ClientResponse, outcome: Outcome) -> None:
    """Write down an answer that is not 200."""
    outcome.kind = "refused" if response.status == 429 else f"http_{response.status}"
    header = response.headers.get("Retry-After", "")
    outcome.retry_after_s = float(header) if header.isdigit() and math.isfinite(float(header)) else None
