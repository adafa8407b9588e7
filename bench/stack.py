"""Runs the whole stack as a user would, in a process of its own, and ends it by pid. For the demo, benchmarks and tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

READY_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: where it answers, where its state lies, how long it took to be ready, and its first process."""

    url: str
    data_dir: Path
    ready_s: float
    pid: int


class StackFailed(RuntimeError):
    """The stack ended or was not ready in time; the message carries the end of its log."""


@contextmanager
def running_stack(data_dir: Path, *, settings: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """`keepword serve` on a free port of 127.0.0.1 with its state in `data_dir`. `settings` are KEEPWORD_* variables."""
    data_dir.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), data_dir / "serve.log"
    env = os.environ | {"KEEPWORD_DATA_DIR": str(data_dir), "KEEPWORD_PORT": str(port)} | dict(settings or {})
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.cli", "serve"],
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_ready(url, process, log)
        yield Stack(url, data_dir, round(time.monotonic() - began, 1), process.pid)
    finally:
        _stop(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StackFailed(f"keepword serve ended with {process.returncode}:\n{_tail(log)}")
        try:
            if httpx.get(f"{url}/readyz", timeout=2.0).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.25)
    raise StackFailed(f"not ready after {READY_TIMEOUT_S:.0f} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask politely, then end the process group we started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
