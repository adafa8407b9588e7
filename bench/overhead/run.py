"""What our OpenAI endpoint costs against bare `vllm serve`: same engine, arguments, machine, prompts and client, in turns.

Both servers stay loaded; the one that is not measured is stopped (SIGSTOP), so neither takes anything from the other, and
all of Ray's own processes count as ours. A round measures each load on one and then on the other; ratios are taken within a
round, and the bars are their medians. The first token is compared twice: as the client sees it, in which the engine's steps and
its luck with memory weigh most, and less what the engine itself took for it, which leaves what stands around the engine.

A shared machine is now faster, now slower, by more than a server adds. So what the client sees is also compared in pairs: both
servers awake, the same prompts to one and at once after it to the other, few tokens each.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import httpx

from bench.overhead import sides
from bench.overhead.client import Burst, Order
from bench.overhead.cores import Cores, starting_on
from bench.overhead.sides import Client, Side
from bench.processes import ServerFailed, spent
from bench.result import Bar, BenchResult, bar, quantile

ROUNDS: Final = 5
LOADS: Final = ((1, 6), (16, 16), (64, 64))  # (at once, in all)
QUICK_LOADS: Final = ((1, 2), (4, 8))
PAIRS: Final = ((1, 24), (16, 4))
"""(requests at once, pairs in a round) whose first tokens are compared one against one."""
QUICK_PAIRS: Final = ((1, 2),)
PAIR_TOKENS: Final = 4
PROMPT_TOKENS, TEMPLATE_TOKENS, OUTPUT_TOKENS = 512, 30, 128
THROUGHPUT_LEAST, TTFT_MOST_MS, INTER_TOKEN_MOST = 0.97, 10.0, 0.02
SETTLE_REQUESTS: Final = 2
AWAKE_S: Final = 90.0
CALM, CALM_S = 0.15, 30.0
"""Cores a waking server may still take, and how long that is waited for: what Ray missed while it stood is caught up first."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One side under one load in one round. `cpu_s` by process name; `engine_first_token_s`: the mean time to the first token
    that its engine told of these requests, from when its core took them in; None where it tells none."""

    side: str
    round: int
    concurrency: int
    burst: Burst
    cpu_s: dict[str, float]
    engine_first_token_s: float | None = None

    @property
    def outside_ms(self) -> float | None:
        """Mean milliseconds of the first token that passed outside the engine's core. How fast that was, which differs from
        start to start by far more than what a server adds, is not in it. What comes while a step is under way is taken in when
        it ends, and that wait is: as much as a server's slowness costs a client, no more."""
        if self.engine_first_token_s is None:
            return None
        return (self.first_token_mean_s - self.engine_first_token_s) * 1000

    @property
    def first_token_p50_s(self) -> float:
        return quantile([request.first_token_s for request in self.burst.requests], 0.5)

    @property
    def first_token_mean_s(self) -> float:
        """Steadier than the p50, which jumps by a whole step of the engine: prompts are taken in by the handful."""
        return fmean(request.first_token_s for request in self.burst.requests)

    @property
    def inter_token_p50_s(self) -> float:
        return quantile([request.inter_token_s for request in self.burst.requests], 0.5)

    def told(self) -> dict[str, Any]:
        return {
            "side": self.side,
            "round": self.round,
            "concurrency": self.concurrency,
            "tokens_per_s": round(self.burst.tokens_per_s, 2),
            "first_token_p50_s": round(self.first_token_p50_s, 4),
            "first_token_mean_s": round(self.first_token_mean_s, 4),
            "inter_token_p50_s": round(self.inter_token_p50_s, 5),
            "first_token_outside_engine_ms": None if self.outside_ms is None else round(self.outside_ms, 2),
            "cpu_s": self.cpu_s,
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """The same prompts to both sides, one at once after the other: the p50 of their first tokens in seconds."""

    round: int
    concurrency: int
    ours_s: float
    bare_s: float

    @property
    def added_ms(self) -> float:
        return (self.ours_s - self.bare_s) * 1000


def run(
    *,
    seed: int,
    quick: bool,
    model: str,
    rounds: int,
    cores: Cores,
    raw: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """Up to an hour on two cores with five rounds. `raw`: a file for every request's times."""
    loads, in_pairs, opened = (QUICK_LOADS, QUICK_PAIRS, sides.stand_ins) if quick else (LOADS, PAIRS, sides.both)
    output = 16 if quick else OUTPUT_TOKENS
    prompts = Prompts(seed, None if quick else _tokenizer(model))
    measured, pairs = list[Measured](), list[Pair]()
    with ExitStack() as running:
        folder = running.enter_context(tempfile.TemporaryDirectory(prefix="keepword-overhead-"))
        with starting_on(cores.others):
            client = running.enter_context(Client())
        servers: AbstractContextManager[tuple[Side, Side]] = opened(Path(folder), model, cores)
        with servers as pair:
            idle = {side.name: idle_cpu(side, pair) for side in pair}
            for number in range(rounds):
                bursts = {concurrency: prompts.many(count) for concurrency, count in loads}
                for side in pair if number % 2 == 0 else reversed(pair):
                    measured += _round(side, pair, client, number, bursts, output, quick=quick)
                for concurrency, count in in_pairs:
                    pairs += _in_pairs(pair, client, number, [prompts.many(concurrency) for _ in range(count)])
                if progress is not None:
                    progress(number + 1, rounds)
    if raw is not None:
        kept = {"loads": [asdict(one) for one in measured], "pairs": [asdict(one) for one in pairs]}
        raw.write_text(json.dumps(kept), encoding="utf-8")
    told = result(measured, [name for name in idle], idle, pairs)
    return replace(told, detail={**told.detail, "cores": cores.told()})


def _round(
    side: Side,
    pair: Sequence[Side],
    client: Client,
    number: int,
    bursts: dict[int, tuple[str, ...]],
    output: int,
    *,
    quick: bool,
) -> list[Measured]:
    """Every load on one side, the other stopped."""
    other = next(each for each in pair if each is not side)
    measured = []
    with other.tree.paused():
        wait_awake(side)
        settle = Order(side.url, side.model, tuple(f"Say {word}." for word in "ab"), SETTLE_REQUESTS, 4, ignore_eos=False)
        client.send(settle)
        wait_calm(side)
        for concurrency, prompts in bursts.items():
            order = Order(side.url, side.model, prompts, concurrency, output, ignore_eos=not quick)
            told, before = side.engine_first_tokens(), side.tree.cpu_s()
            burst = client.send(order)
            cpu_s = spent(before, side.tree.cpu_s())
            engine_s = engine_mean_s(told, side.engine_first_tokens(), len(prompts))
            measured.append(Measured(side.name, number, concurrency, burst, cpu_s, engine_s))
    return measured


def _in_pairs(sides: Sequence[Side], client: Client, number: int, bursts: Sequence[tuple[str, ...]]) -> list[Pair]:
    """Each burst to both sides, whose turn it is to be first changing; ours is the first of `sides`."""
    for side in sides:
        wait_awake(side)
        wait_calm(side)
    pairs = []
    for place, prompts in enumerate(bursts):
        first_s: dict[str, float] = {}
        for side in sides if place % 2 == 0 else reversed(sides):
            burst = client.send(Order(side.url, side.model, prompts, len(prompts), PAIR_TOKENS, ignore_eos=False))
            first_s[side.name] = quantile([request.first_token_s for request in burst.requests], 0.5)
        ours_s, bare_s = (first_s[side.name] for side in sides)
        pairs.append(Pair(number, len(prompts), ours_s, bare_s))
    return pairs


def engine_mean_s(before: tuple[float, float] | None, after: tuple[float, float] | None, requests: int) -> float | None:
    """The engine's own mean between two of its readings (count, seconds). Raises ServerFailed when it counted other requests
    than ours."""
    if before is None or after is None:
        return None
    if (counted := after[0] - before[0]) != requests:
        raise ServerFailed(f"the engine tells of {counted:g} requests, and was sent {requests}")
    return (after[1] - before[1]) / counted


def wait_awake(side: Side) -> None:
    """Until a server that was stopped answers again: after a long stop Ray may start its proxy anew. Raises ServerFailed."""
    deadline = time.monotonic() + AWAKE_S
    with httpx.Client(timeout=30.0) as http:
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if http.get(f"{side.url}/v1/models").is_success:
                    return
            time.sleep(0.1)
    raise ServerFailed(f"{side.name} does not answer {AWAKE_S:g} s after it was stopped")


def idle_cpu(side: Side, pair: Sequence[Side], seconds: float = 5.0) -> float:
    """CPU seconds a second that a side takes while nobody asks it anything."""
    other = next(each for each in pair if each is not side)
    with other.tree.paused():
        wait_awake(side)
        wait_calm(side)
        return round(_cores_taken(side, seconds), 4)


def wait_calm(side: Side) -> None:
    """Until a side that nobody asks anything takes less than CALM cores; no longer than CALM_S."""
    deadline = time.monotonic() + CALM_S
    while _cores_taken(side, 1.0) > CALM and time.monotonic() < deadline:
        pass


def _cores_taken(side: Side, seconds: float) -> float:
    before, began = side.tree.cpu_s(), time.monotonic()
    time.sleep(seconds)
    used = sum(spent(before, side.tree.cpu_s()).values())
    return used / (time.monotonic() - began)


def result(
    measured: Sequence[Measured], names: Sequence[str], idle: dict[str, float], in_pairs: Sequence[Pair] = ()
) -> BenchResult:
    """Ratios within each round, medians over rounds; the first token over all pairs, where a load has some. `names`: ours,
    then the bare one."""
    ours, bare = names
    bars: dict[str, Bar] = {}
    for concurrency in sorted({one.concurrency for one in measured}):
        of = {(one.side, one.round): one for one in measured if one.concurrency == concurrency}
        pairs = [(of[ours, number], of[bare, number]) for number in sorted({number for _, number in of})]
        throughput = median(a.burst.tokens_per_s / b.burst.tokens_per_s for a, b in pairs)
        of_pairs = [pair.added_ms for pair in in_pairs if pair.concurrency == concurrency]
        first_ms = median(of_pairs or [(a.first_token_p50_s - b.first_token_p50_s) * 1000 for a, b in pairs])
        inter = median(a.inter_token_p50_s / b.inter_token_p50_s - 1 for a, b in pairs)
        bars[f"throughput_ratio_{concurrency}"] = bar(throughput, THROUGHPUT_LEAST, ">=")
        bars[f"added_first_token_p50_ms_{concurrency}"] = bar(first_ms, TTFT_MOST_MS)
        bars[f"added_inter_token_{concurrency}"] = bar(inter, INTER_TOKEN_MOST)
        outside = [(a.outside_ms, b.outside_ms) for a, b in pairs]
        added = [mine - theirs for mine, theirs in outside if mine is not None and theirs is not None]
        if added:
            bars[f"added_outside_engine_ms_{concurrency}"] = bar(median(added), TTFT_MOST_MS)
    prompt_tokens = [float(request.prompt_tokens) for one in measured for request in one.burst.requests]
    detail = {
        "sides": list(names),
        "prompt_tokens_p50": quantile(prompt_tokens, 0.5),
        "idle_cpu_s_per_s": idle,
        "first_token_s": first_tokens(measured),
        "first_token_in_pairs": paired(in_pairs),
        "cpu_ms_per_token": cpu_per_token(measured),
        "rounds": [one.told() for one in measured],
    }
    return BenchResult("bench overhead", bars, detail)


def first_tokens(measured: Sequence[Measured]) -> dict[str, dict[str, dict[str, float]]]:
    """Side -> load -> least, median and most of the rounds' p50, and the median of their means: how far one side is from itself
    is how little a difference between two may mean."""
    told: dict[str, dict[str, dict[str, float]]] = {}
    for side, concurrency in sorted({(one.side, one.concurrency) for one in measured}):
        of = [one for one in measured if (one.side, one.concurrency) == (side, concurrency)]
        p50s = [one.first_token_p50_s for one in of]
        figures = {"p50_least": min(p50s), "p50": median(p50s), "p50_most": max(p50s)}
        figures["mean"] = median(one.first_token_mean_s for one in of)
        told.setdefault(side, {})[str(concurrency)] = {name: round(value, 4) for name, value in figures.items()}
    return told


def paired(pairs: Sequence[Pair]) -> dict[str, dict[str, float]]:
    """Load -> how many pairs, both sides' p50 in seconds, and the quartiles of what ours added in milliseconds."""
    told: dict[str, dict[str, float]] = {}
    for concurrency in sorted({pair.concurrency for pair in pairs}):
        of = [pair for pair in pairs if pair.concurrency == concurrency]
        added = {f"added_ms_p{share}": quantile([pair.added_ms for pair in of], share / 100) for share in (25, 50, 75)}
        p50s = {"ours_s": median(pair.ours_s for pair in of), "bare_s": median(pair.bare_s for pair in of)}
        told[str(concurrency)] = {"pairs": len(of)} | {name: round(value, 4) for name, value in (p50s | added).items()}
    return told


def cpu_per_token(measured: Sequence[Measured]) -> dict[str, dict[str, float]]:
    """Side -> load -> CPU milliseconds of all its processes for an output token, median over rounds. Steadier than times on a
    machine that does other things too."""
    told: dict[str, dict[str, float]] = {}
    for side in sorted({one.side for one in measured}):
        for concurrency in sorted({one.concurrency for one in measured}):
            costs = [
                sum(one.cpu_s.values()) * 1000 / sum(request.completion_tokens for request in one.burst.requests)
                for one in measured
                if (one.side, one.concurrency) == (side, concurrency)
            ]
            told.setdefault(side, {})[str(concurrency)] = round(median(costs), 3)
    return told


class Prompts:
    """Prompts nobody has seen: random words of the model's vocabulary, so that no prefix cache helps either side."""

    def __init__(self, seed: int, tokenizer: Any) -> None:
        self._drawn, self._tokenizer = random.Random(seed), tokenizer

    def many(self, count: int) -> tuple[str, ...]:
        return tuple(self._one() for _ in range(count))

    def _one(self) -> str:
        wanted = PROMPT_TOKENS - TEMPLATE_TOKENS
        if self._tokenizer is None:
            return " ".join(str(self._drawn.randrange(10**6)) for _ in range(wanted // 8))
        ids = [self._drawn.randrange(1000, 50_000) for _ in range(wanted * 2)]
        text = self._tokenizer.decode(ids)
        return str(self._tokenizer.decode(self._tokenizer.encode(text)[:wanted]))


def _tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    from serving.models import ensure

    return AutoTokenizer.from_pretrained(str(ensure(model, "cpu", quiet=True)))
