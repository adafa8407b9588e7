"""What our OpenAI endpoint costs against bare `vllm serve`: same engine, arguments, machine, prompts and client, in turns.

Both servers are loaded; the one that is not measured is stopped (SIGSTOP), so neither takes anything from the other, and
all of Ray's own processes count as ours. Ratios are taken within a round, and the bars are their medians. Two starts of one
engine differ by some 5 % in speed, which is more than a server adds: so every round starts both anew. The first token is
compared twice: as the client sees it, in which the engine's steps and its luck with memory weigh most, and less what the
engine itself took for it, which leaves what stands around the engine.

A shared machine is now faster, now slower for minutes, by more than a server adds. So a load comes in short visits to both by
turns (ours, bare, bare, ours, ...), and the first token is also compared in pairs: both servers awake, the same prompts to one
and then to the other, few tokens each.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx

from agents.domain.errors import BadInput
from bench.overhead import sides
from bench.overhead.client import Order
from bench.overhead.cores import Cores, starting_on
from bench.overhead.figures import Measured, Pair, joined, result
from bench.overhead.kept import Kept
from bench.overhead.sides import Client, Side
from bench.processes import ServerFailed, spent
from bench.result import BenchResult, machine, quantile


@dataclass(frozen=True, slots=True)
class Load:
    """`requests` in each of a side's `visits`, `concurrency` at once."""

    concurrency: int
    requests: int
    visits: int


ROUNDS: Final = 5
LOADS: Final = (Load(1, 1, 6), Load(16, 16, 2), Load(64, 64, 2))
QUICK_LOADS: Final = (Load(1, 1, 2), Load(4, 4, 2))
PAIRS: Final = ((1, 24), (16, 4))
"""(requests at once, pairs in a round) whose first tokens are compared one against one."""
QUICK_PAIRS: Final = ((1, 2),)
PAIR_TOKENS: Final = 4
REST_S: Final = 1.5
PROMPT_TOKENS, TEMPLATE_TOKENS, OUTPUT_TOKENS = 512, 30, 128
SETTLE_REQUESTS: Final = 2
AWAKE_S: Final = 90.0
CALM, CALM_S = 0.15, 30.0
"""Cores a waking server may still take, and how long that is waited for: what Ray missed while it stood is caught up first."""


def run(
    *,
    seed: int,
    quick: bool,
    model: str,
    rounds: int,
    cores: Cores,
    raw: Path | None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """A round takes many minutes (17 on 2 x Intel Xeon). `raw`: a file for every request's times, written after every round;
    `resume`: its rounds are not measured again. Raises BadInput where the file is not of this machine and these arguments."""
    loads, in_pairs, opened = (QUICK_LOADS, QUICK_PAIRS, sides.stand_ins) if quick else (LOADS, PAIRS, sides.both)
    output = 16 if quick else OUTPUT_TOKENS
    about = {"machine": machine(), "model": model, "seed": str(seed), "cores": json.dumps(cores.told()), "quick": str(quick)}
    about["loads"] = json.dumps([asdict(load) for load in loads])
    if resume and raw is None:
        raise BadInput("nothing to go on from", field="raw", hint="Name the file with --raw.")
    kept = Kept.read(raw, about) if resume and raw is not None else Kept(about)
    tokenizer = None if quick else _tokenizer(model)
    if progress is not None:
        progress(kept.rounds, rounds)
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="keepword-overhead-")))
        with starting_on(cores.others):
            client = running.enter_context(Client())
        for number in range(kept.rounds, rounds):
            prompts = Prompts(f"{seed} {number}", tokenizer)
            with opened(folder, model, cores, number) as pair:
                kept.idle = kept.idle or {side.name: idle_cpu(side, pair) for side in pair}
                for load in loads:
                    bursts = [prompts.many(load.requests) for _ in range(load.visits)]
                    kept.loads += _by_turns(pair, client, number, load, bursts, output, quick=quick)
                for concurrency, count in in_pairs:
                    kept.pairs += _in_pairs(pair, client, number, [prompts.many(concurrency) for _ in range(count)])
            if raw is not None:
                kept.write(raw)
            if progress is not None:
                progress(number + 1, rounds)
    told = result(kept.loads, list(kept.idle), kept.idle, kept.pairs)
    return replace(told, detail={**told.detail, "cores": cores.told()})


def _by_turns(
    pair: Sequence[Side],
    client: Client,
    number: int,
    load: Load,
    bursts: Sequence[tuple[str, ...]],
    output: int,
    *,
    quick: bool,
) -> list[Measured]:
    """Each burst to both sides, whose turn it is to be first changing: what every side's visits make together."""
    visits: dict[str, list[Measured]] = {side.name: [] for side in pair}
    for place, prompts in enumerate(bursts):
        for side in pair if (number // 2 + place) % 2 == 0 else reversed(pair):
            order = Order(side.url, side.model, prompts, load.concurrency, output, ignore_eos=not quick)
            visits[side.name].append(_visit(side, pair, client, number, order))
    return [joined(of) for of in visits.values()]


def _visit(side: Side, pair: Sequence[Side], client: Client, number: int, order: Order) -> Measured:
    """`order` to one side, the other stopped."""
    other = next(each for each in pair if each is not side)
    with other.tree.paused():
        wait_awake(side)
        settle = Order(side.url, side.model, tuple(f"Say {word}." for word in "ab"), SETTLE_REQUESTS, 4, ignore_eos=False)
        client.send(settle)
        wait_calm(side)
        told, before = side.engine_first_tokens(), side.tree.cpu_s()
        burst = client.send(order)
        cpu_s = spent(before, side.tree.cpu_s())
        engine_s = engine_mean_s(told, side.engine_first_tokens(), len(order.prompts))
        return Measured(side.name, number, order.concurrency, burst, cpu_s, engine_s)


def _in_pairs(sides: Sequence[Side], client: Client, number: int, bursts: Sequence[tuple[str, ...]]) -> list[Pair]:
    """Each burst to both sides, whose turn it is to be first changing; ours is the first of `sides`. A side is asked when the
    other's worker is at rest: it looks for work for a second after the last, and takes the core meanwhile."""
    for side in sides:
        wait_awake(side)
        wait_calm(side)
    pairs = []
    for place, prompts in enumerate(bursts):
        first_s: dict[str, float] = {}
        for side in sides if place % 2 == 0 else reversed(sides):
            time.sleep(REST_S)
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


class Prompts:
    """Prompts nobody has seen: random words of the model's vocabulary, so that no prefix cache helps either side."""

    def __init__(self, seed: str, tokenizer: Any) -> None:
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
