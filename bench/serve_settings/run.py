"""`keepword bench serve-settings`: each of Ray Serve's settings against its defaults, two stacks side by side, in turns.

Whole turns over HTTP with an engine that answers at once: what is left is HTTP, Serve, and our own code. Only the ratios of one
round count; the report is their median.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.domain.errors import BadInput
from bench.chaos.customer import Customer, client
from bench.processes import ServerFailed, Tree
from bench.result import BenchResult, bar, quantile
from bench.stack import Stack, running_stack
from serving.serve_settings import ALTERNATIVES

ENGINE = "simulated:instant"
GREETING = "Hello there"
CUSTOMERS = 8
ROUND_S, ROUNDS = 4.0, 5
QUICK = ("router in a loop of its own",)
BASE = {"KEEPWORD_LOG_LEVEL": "WARNING"}


@dataclass(frozen=True, slots=True)
class Round:
    """One stack under load for a moment. Times in seconds; CPU of all its processes."""

    turns: int
    elapsed_s: float
    cpu_s: float
    turn_s: tuple[float, ...]

    @property
    def turns_per_s(self) -> float:
        return self.turns / self.elapsed_s

    @property
    def cpu_ms_a_turn(self) -> float:
        return 1000 * self.cpu_s / max(self.turns, 1)

    @property
    def p50_s(self) -> float:
        return quantile(list(self.turn_s), 0.5)


@dataclass
class Compared:
    """Rounds of the defaults and of one alternative, in pairs."""

    defaults: list[Round] = field(default_factory=list)
    others: list[Round] = field(default_factory=list)

    def ratio(self, figure: Callable[[Round], float]) -> float:
        """The alternative's figure over the defaults', the median of the pairs."""
        pairs = zip(self.defaults, self.others, strict=True)
        return statistics.median(figure(other) / max(figure(default), 1e-9) for default, other in pairs)


def run(
    *,
    seed: int = 0,
    quick: bool = False,
    only: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """About a quarter of an hour; quick: one alternative, two short rounds. `seed` changes nothing. Raises BadInput for an
    alternative nobody knows."""
    names = tuple(only or (QUICK if quick else ALTERNATIVES))
    for name in names:
        if name not in ALTERNATIVES:
            raise BadInput(f"there is no alternative {name!r}", field="only", hint=f"One of: {'; '.join(ALTERNATIVES)}.")
    rounds, round_s = (2, 1.0) if quick else (ROUNDS, ROUND_S)
    compared: dict[str, Compared] = {}
    failed: dict[str, str] = {}
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="keepword-settings-")))
        default = opened.enter_context(running_stack(folder / "default", settings=BASE, engine=ENGINE))
        asyncio.run(_round(default, round_s))
        for done, name in enumerate(names):
            if progress is not None:
                progress(done, len(names))
            settings = BASE | dict(ALTERNATIVES[name])
            try:
                with running_stack(folder / str(done), settings=settings, engine=ENGINE) as other:
                    compared[name] = side_by_side(default, other, rounds, round_s)
            except ServerFailed as error:  # the others are worth having
                failed[name] = str(error).splitlines()[-1]
    return result(compared, rounds, failed)


def side_by_side(default: Stack, other: Stack, rounds: int, round_s: float) -> Compared:
    compared = Compared()
    asyncio.run(_round(other, round_s))  # warm
    for number in range(rounds):
        pair = [(default, compared.defaults), (other, compared.others)]
        for stack, into in pair if number % 2 else reversed(pair):
            into.append(asyncio.run(_round(stack, round_s)))
    return compared


async def _round(stack: Stack, round_s: float) -> Round:
    """Customers who greet, again and again."""
    async with client(keep_alive=True) as http:
        customers = [Customer(http, stack.url) for _ in range(CUSTOMERS)]
        await asyncio.gather(*(customer.open("C-001") for customer in customers))
        tree = Tree(stack.pid)
        cpu_s, began = tree.cpu_s().total(), time.monotonic()
        spoken = await asyncio.gather(*(_greet(customer, began + round_s) for customer in customers))
        elapsed_s = time.monotonic() - began
    turn_s = tuple(seconds for each in spoken for seconds in each)
    return Round(len(turn_s), elapsed_s, tree.cpu_s().total() - cpu_s, turn_s)


async def _greet(customer: Customer, until: float) -> list[float]:
    """Seconds of each turn that ended well."""
    took = []
    while time.monotonic() < until:
        said = await customer.say(GREETING)
        if said.end == "done":
            took.append(said.ended - said.began)
    return took


def result(compared: Mapping[str, Compared], rounds: int, failed: Mapping[str, str] | None = None) -> BenchResult:
    ended = min((each.turns for pair in compared.values() for each in (*pair.defaults, *pair.others)), default=0)
    return BenchResult(
        "bench serve-settings",
        {
            "rounds_without_a_turn": bar(float(ended == 0), 0),
            "alternatives_that_did_not_start": bar(len(failed or {}), 0),
            "alternatives": bar(len(compared), None),
        },
        {
            "engine": ENGINE,
            "customers": CUSTOMERS,
            "rounds": rounds,
            "failed": dict(failed or {}),
            "defaults": _figures([each for pair in compared.values() for each in pair.defaults]),
            "alternatives": {
                name: {
                    "turns_per_s_ratio": round(pair.ratio(lambda each: each.turns_per_s), 3),
                    "turn_p50_ratio": round(pair.ratio(lambda each: each.p50_s), 3),
                    "cpu_a_turn_ratio": round(pair.ratio(lambda each: each.cpu_ms_a_turn), 3),
                    **_figures(pair.others),
                }
                for name, pair in compared.items()
            },
        },
    )


def _figures(rounds: Sequence[Round]) -> dict[str, Any]:
    return {
        "turns_per_s": round(statistics.median(each.turns_per_s for each in rounds), 1),
        "turn_p50_ms": round(1000 * statistics.median(each.p50_s for each in rounds), 1),
        "cpu_ms_a_turn": round(statistics.median(each.cpu_ms_a_turn for each in rounds), 1),
    }
