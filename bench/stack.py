"""Runs the whole stack as a user would, in a process of its own, and ends it by pid. For the demo, benchmarks and tests."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import free_port, server

SIMULATED = "simulated:"


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: where it answers, where its state lies, how long it took to be ready, and the process that runs it."""

    url: str
    data_dir: Path
    ready_s: float
    pid: int


@dataclass(frozen=True, slots=True)
class Engine:
    """A running simulated engine: where it answers, and its process."""

    url: str
    pid: int


@contextmanager
def running_stack(data_dir: Path, *, settings: Mapping[str, str] | None = None, engine: str = "") -> Iterator[Stack]:
    """`keepword serve` on a free port of 127.0.0.1 with its state in `data_dir`. `settings` are KEEPWORD_* variables;
    `engine` "simulated:PROFILE" puts the simulated engine in the model's place (`bench/simulator`). Raises ServerFailed."""
    data_dir.mkdir(parents=True, exist_ok=True)
    port, began = free_port(), time.monotonic()
    url = f"http://127.0.0.1:{port}"
    env = {"KEEPWORD_DATA_DIR": str(data_dir), "KEEPWORD_PORT": str(port), **(settings or {})}
    command = [sys.executable, "-m", *_command(engine)]
    with server(command, ready=f"{url}/readyz", log=data_dir / "serve.log", env=env) as pid:
        yield Stack(url, data_dir, round(time.monotonic() - began, 1), pid)


@contextmanager
def engine_server(profile: str, scratch: Path) -> Iterator[Engine]:
    """The simulated engine behind an OpenAI-compatible server of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "bench.simulator.server", "--profile", profile, "--port", str(port))
    with server(command, ready=f"{url}/health", log=scratch / f"engine-{port}.log") as pid:
        yield Engine(url, pid)


def _command(engine: str) -> list[str]:
    if not engine:
        return ["serving.cli", "serve"]
    if not engine.startswith(SIMULATED):
        raise ValueError(f"engine is {engine!r}; it must be empty or {SIMULATED}PROFILE")
    return ["bench.simulator.stack", "--profile", engine.removeprefix(SIMULATED)]
