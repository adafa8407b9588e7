"""A desk over a simulated engine in a process of its own, as `python -m bench.fairness.served PORT`. Settings come from
KEEPWORD_* variables; those of admission are the defaults."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from bench.simulator.model import SimulatedModel
from bench.simulator.profile import load_profile
from bench.stack import StackFailed, free_port
from serving.app import create_app
from serving.clock import SystemClock
from serving.settings import Settings
from serving.wiring import open_desk

PROFILE = "cpu"
READY_TIMEOUT_S, STOP_TIMEOUT_S = 60.0, 20.0


async def serve(port: int) -> None:
    model = SimulatedModel(load_profile(PROFILE))

    async def ready() -> None:
        """A simulated engine always is."""

    opened = await open_desk(Settings.load(), model, SystemClock(), engine_ready=ready)
    config = uvicorn.Config(
        create_app(opened.desk, opened.openai), "127.0.0.1", port, log_level="warning", timeout_graceful_shutdown=5
    )
    try:
        await uvicorn.Server(config).serve()
    finally:
        await opened.close()


@contextmanager
def running_desk(folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """The URL of a desk in another process, ended by its pid."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "served.log"
    env = os.environ | {"KEEPWORD_DATA_DIR": str(folder), "KEEPWORD_TAPE": "false"} | dict(settings)
    command = [sys.executable, "-m", "bench.fairness.served", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, log)
        yield url
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(url.rsplit(":", 1)[1]))) == 0 and _answers(url):
                return
        time.sleep(0.1)
    raise StackFailed(f"the desk was not ready:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
