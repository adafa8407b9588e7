"""The two servers that are compared, each with its processes and a client process of its own kind: one measures both."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from bench import processes
from bench.overhead.client import Burst, Order, read
from bench.overhead.cores import Cores, starting_on
from bench.processes import Tree, free_port
from bench.stack import running_stack

READY_TIMEOUT_S: Final = 400.0
STOP_TIMEOUT_S: Final = 30.0
METRICS_TIMEOUT_S: Final = 30.0
OURS_TELLS: Final = ("keepword_engine_queued_seconds", "keepword_engine_prefill_seconds")
VLLM_TELLS: Final = ("vllm:request_queue_time_seconds", "vllm:request_prefill_time_seconds")


@dataclass(frozen=True, slots=True)
class Side:
    """A running server. `model` is the name it answers to, `engine_metrics` the histograms in which its engine's core
    tells of each finished request how long it waited there, and then took to the first token (none: it tells nothing)."""

    name: str
    url: str
    model: str
    tree: Tree
    engine_metrics: Sequence[str] = ()

    def engine_first_tokens(self) -> tuple[float, float] | None:
        """How many requests the engine finished so far, and the seconds from when its core took them in to their first token,
        summed."""
        if not self.engine_metrics:
            return None
        text = httpx.get(f"{self.url}/metrics", timeout=METRICS_TIMEOUT_S).raise_for_status().text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        counts, seconds = (
            [sum(sample.value for sample in samples if sample.name == f"{name}_{part}") for name in self.engine_metrics]
            for part in ("count", "sum")
        )
        return counts[0], sum(seconds)


class Client:
    """The load generator in a process of its own. Use as a context manager."""

    def __enter__(self) -> "Client":
        command = [sys.executable, "-m", "bench.overhead.client"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def send(self, order: Order) -> Burst:
        """Raises RuntimeError when the client ended, having said why on stderr."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended before it answered")
        return read(json.loads(line))


@contextmanager
def both(folder: Path, model: str, cores: Cores, number: int) -> Iterator[tuple[Side, Side]]:
    """(ours, bare), both with the real engine loaded. They start one after the other, since loading takes more than serving;
    which is first changes with the round's number."""
    with ExitStack() as running:

        def ours() -> Side:
            stack = running.enter_context(running_stack(folder / f"ours-{number}", settings={"KEEPWORD_MODEL": model}))
            return Side("keepword serve", stack.url, model, Tree(stack.pid), OURS_TELLS)

        def bare() -> Side:
            side = running.enter_context(server("vllm serve", "bench.overhead.bare", model, folder / f"bare-{number}.log"))
            return replace(side, engine_metrics=VLLM_TELLS)

        first, second = (ours, bare) if number % 2 == 0 else (bare, ours)
        with starting_on(cores.engine):
            one = first()
            with one.tree.paused():
                other = second()
        for side in (one, other):
            cores.place(side.tree)
        yield (one, other) if first is ours else (other, one)


@contextmanager
def stand_ins(folder: Path, model: str, cores: Cores, number: int) -> Iterator[tuple[Side, Side]]:
    """The same small server twice: for trying out the harness, without an engine."""
    with ExitStack() as running, starting_on(cores.others):
        names = ("stand-in a", "stand-in b")
        sides = [
            running.enter_context(server(name, "bench.overhead.stand_in", model, folder / f"{name}-{number}.log"))
            for name in names
        ]
        yield sides[0], sides[1]


@contextmanager
def server(name: str, module: str, model: str, log: Path) -> Iterator[Side]:
    """A server that `python -m module MODEL PORT` starts, ready, and ended by pid at the end."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", module, model, str(port))
    with processes.server(command, ready=f"{url}/v1/models", log=log, timeout_s=READY_TIMEOUT_S) as pid:
        yield Side(name, url, model, Tree(pid))
