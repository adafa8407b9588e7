"""Our OpenAI endpoint and other proxies before the same simulated engine, measured in turns.

What is compared is the path: every process a request passes (proxy and engine), in CPU seconds of the operating system's
own account. The engine's own share is the same for all and is told apart by asking it directly.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.peers.client import Load, ask
from bench.peers.environments import environment
from bench.peers.proxies import MODEL, PROXIES, SERVED_AS
from bench.processes import cpu_s, server
from bench.result import quantile
from bench.stack import SIMULATED, engine_server, running_stack

DIRECT, OURS = "the engine itself", "keepword"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who answers. `pids` are the tops of the process trees a request to it passes."""

    name: str
    language: str
    url: str
    pids: tuple[int, ...]
    key: str = ""
    model: str = MODEL


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long each of the three loads of a round lasts, in seconds, and how many rounds there are."""

    rounds: int
    whole_s: float
    stream_s: float
    alone_s: float


FULL, QUICK = Sizes(5, 4.0, 4.0, 2.0), Sizes(1, 0.5, 0.5, 0.3)
CALLERS, STREAMS, STREAM_TOKENS = 16, 8, 128


@dataclass
class Figures:
    """One value a round. CPU in seconds a request or chunk along the whole path, latencies in seconds."""

    requests_per_s: list[float] = field(default_factory=list)
    cpu_s_a_request: list[float] = field(default_factory=list)
    chunks_per_s: list[float] = field(default_factory=list)
    cpu_s_a_chunk: list[float] = field(default_factory=list)
    alone_p50_s: list[float] = field(default_factory=list)
    alone_p99_s: list[float] = field(default_factory=list)
    first_p50_s: list[float] = field(default_factory=list)
    errors: int = 0

    def medians(self) -> dict[str, float]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "errors"}
        return {name: median(each) for name, each in values.items() if each} | {"errors": float(self.errors)}


def measure(sizes: Sizes, peers: Path, *, names: tuple[str, ...], progress: Progress) -> dict[str, Figures]:
    """Start everything, then every target in turn, round after round. `names` are the peers to run beside ours."""
    with tempfile.TemporaryDirectory(prefix="keepword-peers-") as folder, _started(Path(folder), peers, names) as targets:
        figures = {target.name: Figures() for target in targets}
        for target in targets:  # what a first request sets up is nobody's steady cost
            _round(target, QUICK, Figures())
        done = 0
        for _ in range(sizes.rounds):
            for target in targets:
                _round(target, sizes, figures[target.name])
                done += 1
                progress(done, sizes.rounds * len(targets))
        return figures


@contextmanager
def _started(scratch: Path, peers: Path, names: tuple[str, ...]) -> Iterator[list[Target]]:
    with ExitStack() as opened:
        engine = opened.enter_context(engine_server("instant", scratch))
        targets = [Target(DIRECT, "Python", engine.url, (engine.pid,))]
        ours = opened.enter_context(running_stack(scratch / "ours", engine=f"{SIMULATED}instant", settings=SERVED_AS))
        targets.append(Target(OURS, "Python", ours.url, (ours.pid,)))
        for proxy in PROXIES:
            if proxy.name in names:
                started = proxy.start(environment(proxy.name, peers), scratch, engine.url)
                log = scratch / f"{proxy.name}.log"
                pid = opened.enter_context(server(started.command, ready=started.ready, log=log, env=started.env))
                targets.append(Target(proxy.name, proxy.language, started.url, (pid, engine.pid), started.key))
        yield targets


def _round(target: Target, sizes: Sizes, figures: Figures) -> None:
    def spent(seconds: float, concurrency: int, tokens: int, *, stream: bool) -> tuple[Any, float]:
        before = cpu_s(target.pids)
        seen = ask(Load(target.url, target.model, concurrency, seconds, tokens, stream, target.key))
        figures.errors += seen.errors
        return seen, cpu_s(target.pids) - before

    whole, cpu = spent(sizes.whole_s, CALLERS, 16, stream=False)
    figures.requests_per_s.append(whole.requests / whole.elapsed_s)
    figures.cpu_s_a_request.append(cpu / max(1, whole.requests))
    streamed, cpu = spent(sizes.stream_s, STREAMS, STREAM_TOKENS, stream=True)
    figures.chunks_per_s.append(streamed.chunks / streamed.elapsed_s)
    figures.cpu_s_a_chunk.append(cpu / max(1, streamed.chunks))
    alone, _ = spent(sizes.alone_s, 1, 1, stream=False)
    figures.alone_p50_s.append(quantile(alone.whole_s, 0.5))
    figures.alone_p99_s.append(quantile(alone.whole_s, 0.99))
    first, _ = spent(sizes.alone_s, 1, 8, stream=True)
    figures.first_p50_s.append(quantile(first.first_s, 0.5))


def rows(figures: Mapping[str, Figures]) -> dict[str, dict[str, float]]:
    """Per target, from medians: requests and chunks a second and a core of the path, and what it adds to the engine's own
    time and CPU (milliseconds)."""
    direct = figures[DIRECT].medians()
    told = {}
    for name, each in figures.items():
        of = each.medians()
        told[name] = {
            "requests_per_s": round(of["requests_per_s"], 1),
            "requests_per_s_a_core": round(1 / of["cpu_s_a_request"], 1) if of["cpu_s_a_request"] else 0.0,
            "added_cpu_ms_a_request": round(1e3 * (of["cpu_s_a_request"] - direct["cpu_s_a_request"]), 3),
            "chunks_per_s": round(of["chunks_per_s"], 1),
            "chunks_per_s_a_core": round(1 / of["cpu_s_a_chunk"], 1) if of["cpu_s_a_chunk"] else 0.0,
            "added_p50_ms": round(1e3 * (of["alone_p50_s"] - direct["alone_p50_s"]), 2),
            "added_p99_ms": round(1e3 * (of["alone_p99_s"] - direct["alone_p99_s"]), 2),
            "added_first_chunk_p50_ms": round(1e3 * (of["first_p50_s"] - direct["first_p50_s"]), 2),
            "errors": of["errors"],
        }
    return told
