"""`keepword bench fairness`: bar 5 of the serving layer, over the real admission and a simulated engine.

(a) Ten tenants come at 80 % of their tenth of the capacity; then one of them at ten times its tenth. By how much does the p99
of the other nine rise? (b) The desk is offered more and more, up to three times its capacity. What is left of its goodput?

Both over HTTP in real time, and over a longer stretch of virtual time without HTTP. The capacity is what the desk answers in
full quality, without brown-out; (b) is asked with brown-out and, in `detail`, without it.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.fairness.customers import HttpCrowd, client
from bench.fairness.load import Crowd, Measured
from bench.fairness.served import PROFILE, running_desk
from bench.fairness.virtual import VirtualCrowd
from bench.result import BenchResult
from bench.simulator.timing import VirtualLoop
from serving.settings import Settings

NO_BROWN_OUT_S = 1e9  # no wait is as long as this
Tell = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rounds, and seconds of each part."""

    rounds: int = 5
    saturate_s: float = 60.0
    warm_s: float = 30.0
    fair_s: float = 120.0
    load_s: float = 25.0
    at_once: int = 40


REAL, REAL_QUICK = Sizes(), Sizes(rounds=1, saturate_s=4.0, warm_s=1.0, fair_s=2.5, load_s=1.0, at_once=16)
VIRTUAL = Sizes(saturate_s=200.0, warm_s=60.0, fair_s=600.0, load_s=60.0)
VIRTUAL_QUICK = Sizes(rounds=1, saturate_s=60.0, warm_s=10.0, fair_s=40.0, load_s=10.0)


async def run(*, seed: int = 0, quick: bool = False, progress: Callable[[int, int], None] | None = None) -> BenchResult:
    """Medians of five rounds, about half an hour; quick: one short round, whose figures say little."""
    virtual, real = (VIRTUAL_QUICK, REAL_QUICK) if quick else (VIRTUAL, REAL)
    done, total = 0, 2 * virtual.rounds + real.rounds + 1

    def tell() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    in_virtual, in_virtual_plain = await asyncio.to_thread(_in_virtual_time, virtual, seed, tell)
    with TemporaryDirectory(prefix="keepword-fairness-") as name:
        once = replace(real, rounds=1)  # its overload is told beside, not judged
        plain = await _over_http(Path(name) / "plain", once, seed, tell, capacity=None)
        whole = await _over_http(Path(name) / "whole", real, seed, tell, capacity=plain.capacity)
    parts = {"http": whole, "http_without_brownout": plain, "virtual": in_virtual, "virtual_without_brownout": in_virtual_plain}
    bars = whole.bars("http") | in_virtual.bars("virtual")
    detail = {"engine": f"simulated, profile {PROFILE}", **{place: part.detail() for place, part in parts.items()}}
    return BenchResult("bench fairness", bars, detail)


async def _over_http(folder: Path, sizes: Sizes, seed: int, tell: Tell, *, capacity: float | None) -> Measured:
    """A desk without brown-out tells the `capacity`; one with it is given that."""
    settings = {} if capacity is not None else {"KEEPWORD_QUEUE_TARGET_S": str(NO_BROWN_OUT_S)}
    with running_desk(folder, settings) as url:
        async with client() as http:
            return await _asked(HttpCrowd(http, url), sizes, seed, tell, capacity=capacity)


def _in_virtual_time(sizes: Sizes, seed: int, tell: Tell) -> tuple[Measured, Measured]:
    """With brown-out and without."""

    async def both() -> tuple[Measured, Measured]:
        plain = VirtualCrowd(PROFILE, Settings.load(queue_target_s=NO_BROWN_OUT_S))
        without = await _asked(plain, sizes, seed, tell, capacity=None)
        return await _asked(VirtualCrowd(PROFILE, Settings.load()), sizes, seed, tell, capacity=without.capacity), without

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(both())
    finally:
        loop.close()


async def _asked(crowd: Crowd, sizes: Sizes, seed: int, tell: Tell, *, capacity: float | None) -> Measured:
    """Both questions, or, where the capacity is not yet known, that and the second."""
    await crowd.saturate(1, sizes.warm_s)  # a desk begins with few customers, and learns what a turn takes when it is quiet
    if capacity is None:
        measured = Measured(await crowd.saturate(sizes.at_once, sizes.saturate_s))
    else:
        measured = Measured(capacity)
        await measured.warm(crowd, sizes.warm_s)
    for number in range(sizes.rounds):
        rng = random.Random(f"{seed} {number}")
        if capacity is not None:
            await measured.ask_fair(crowd, sizes.fair_s, rng)
        await measured.ask_overload(crowd, sizes.load_s, rng)
        tell()
    return measured
