"""A desk over a simulated engine in a process of its own, as `python -m bench.fairness.served PORT`. Settings come from
KEEPWORD_* variables; those of admission are the defaults."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from bench.processes import free_port, server
from bench.simulator.model import SimulatedModel
from bench.simulator.profile import load_profile
from serving import garbage
from serving.app import create_app
from serving.clock import SystemClock
from serving.settings import Settings
from serving.wiring import open_desk

PROFILE = "cpu"
KEEP_ALIVE_S = 90  # as Ray Serve: longer than clients keep a connection, or one is closed just as it is used again


async def serve(port: int) -> None:
    model = SimulatedModel(load_profile(PROFILE))

    async def ready() -> None:
        """A simulated engine always is."""

    opened = await open_desk(Settings.load(), model, SystemClock(), engine_ready=ready)
    garbage.settle()  # as a replica does
    config = uvicorn.Config(
        create_app(opened.desk, opened.openai),
        "127.0.0.1",
        port,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
    )
    try:
        await uvicorn.Server(config).serve()
    finally:
        await opened.close()


@contextmanager
def running_desk(folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """The URL of a desk in another process, ended by its pid."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"KEEPWORD_DATA_DIR": str(folder), "KEEPWORD_TAPE": "false", **settings}
    command = (sys.executable, "-m", "bench.fairness.served", str(port))
    with server(command, ready=f"{url}/readyz", log=folder / "served.log", env=env):
        yield url


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
