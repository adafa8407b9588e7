"""Runs a load from several worker processes and adds up what they saw."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import msgspec

from bench.load.figures import Window
from bench.load.plan import LoadPlan
from bench.load.worker import Orders, Report

SEATING_TIMEOUT_S = 900.0
SETTLE_S = 0.3  # from `go` to the first arrival: every worker has read it by then
GRACE_S = 15.0
LINE_BYTES = 256 * 2**20


class GeneratorFailed(RuntimeError):
    """A worker ended before its time; the message carries what it said."""


@dataclass(frozen=True, slots=True)
class Seated:
    """The workers are ready: `customers` sit at the desk."""

    customers: int
    seating_s: float


@dataclass
class Run:
    """A load under way. Iterate `windows()` until it ends; `stop()` ends it early."""

    plan: LoadPlan
    seated: Seated
    workers: Sequence[asyncio.subprocess.Process]
    stopped: bool = False
    begin_s: float = 0.0  # of the load, on the clock of time.monotonic
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    reports: list[Report] = field(default_factory=list)

    async def windows(self) -> AsyncGenerator[Window, None]:
        """Start the load; every window of every worker as it comes."""
        queue: asyncio.Queue[Window | None] = asyncio.Queue()
        self.begin_s = time.monotonic() + SETTLE_S
        for worker in self.workers:
            _write(worker, f"go {self.begin_s}")
        self.begun.set()
        tasks = [asyncio.create_task(self._read(worker, queue)) for worker in self.workers]
        try:
            async with asyncio.timeout(SETTLE_S + self.plan.duration_s + self.plan.drain_s + GRACE_S):
                for _ in range(len(tasks)):
                    while (window := await queue.get()) is not None:
                        yield window
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def stop(self) -> None:
        """End now: no more arrivals, what is under way is left."""
        self.stopped = True
        for worker in self.workers:
            with suppress(ConnectionError):
                _write(worker, "stop")

    async def _read(self, worker: asyncio.subprocess.Process, queue: "asyncio.Queue[Window | None]") -> None:
        try:
            while True:
                what, body = await _line(worker)
                if what == "done":
                    self.reports.append(msgspec.json.decode(body, type=Report))
                    return
                queue.put_nowait(msgspec.json.decode(body, type=Window))
        finally:
            queue.put_nowait(None)


@asynccontextmanager
async def seated(plan: LoadPlan, progress: Callable[[str], None] | None = None) -> AsyncGenerator[Run, None]:
    """Start the workers and let the customers sit down. Workers end with the block, whatever happens in it."""
    began_s, workers = time.monotonic(), []
    try:
        for number in range(plan.processes):
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bench.load.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_BYTES,
            )
            workers.append(worker)
            _write(worker, msgspec.json.encode(Orders(plan, number)).decode())
        async with asyncio.timeout(SEATING_TIMEOUT_S):
            ready = await asyncio.gather(*(_line(worker) for worker in workers))
        customers = sum(int(body) for _, body in ready)
        yield Run(plan, Seated(customers, round(time.monotonic() - began_s, 2)), workers)
    finally:
        await asyncio.gather(*(_end(worker) for worker in workers))


def _write(worker: asyncio.subprocess.Process, line: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(f"{line}\n".encode())


async def _line(worker: asyncio.subprocess.Process) -> tuple[str, str]:
    """The next line, as (what, body). Raises GeneratorFailed at the end of output."""
    assert worker.stdout is not None
    what, _, body = (await worker.stdout.readline()).decode().strip().partition(" ")
    if not what:
        raise GeneratorFailed(f"a worker of the load generator ended with {await worker.wait()}: its reason stands above")
    return what, body


async def _end(worker: asyncio.subprocess.Process) -> None:
    """The end of its input tells a worker to end; one that does not is killed."""
    assert worker.stdin is not None
    worker.stdin.close()
    try:
        async with asyncio.timeout(GRACE_S):
            await worker.wait()
    except TimeoutError:
        worker.kill()
        await worker.wait()
