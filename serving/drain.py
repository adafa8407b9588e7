"""Whether this replica is about to go: Serve waits for its requests, and those that never end must learn of it.

Serve tells a replica's code of its end only after its last request. The replica's own flag is the one thing that knows earlier;
it is read here and nowhere else, and a test with the real Serve fails when it is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable

import ray

LOOK_EVERY_S = 0.5


def draining() -> bool:
    """Whether Serve has asked the replica this runs in to stop. False outside a replica."""
    actors = ray._private.worker.global_worker.actors.values()
    return any(getattr(getattr(actor, "_replica_impl", None), "_shutting_down", False) for actor in actors)


async def on_drain(act: Callable[[], None], *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Call `act` once, when this replica is asked to stop."""
    while not draining():
        await pause(LOOK_EVERY_S)
    act()
