"""Loads on a model, and what its callers saw: the same for the real engine and for the simulated one."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from agents.ports import Message, Model, ModelRequest
from bench.result import quantile
from bench.simulator.content import WORDS

DEADLINE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; `at_s` after the load's start in an open loop."""

    messages: tuple[Message, ...]
    max_tokens: int
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """`at_once` callers that ask one after the other, or, when it is 0, arrivals at their own times (open loop)."""

    name: str
    asks: tuple[Ask, ...]
    at_once: int = 0

    def with_outputs(self, tokens: Sequence[int]) -> "Load":
        """The same with the outputs' lengths as they came: a simulation is told them, it does not guess them."""
        asks = tuple(replace(ask, max_tokens=count) for ask, count in zip(self.asks, tokens, strict=True))
        return replace(self, asks=asks)


@dataclass(frozen=True, slots=True)
class Served:
    """One request as its caller saw it. Times in seconds of the event loop's clock; `chunks_at` one for each piece."""

    asked_at: float
    chunks_at: tuple[float, ...]
    prompt_tokens: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Median time to the first token and between tokens, and output tokens per second over the whole load."""

    ttft_p50_s: float
    itl_p50_s: float
    tokens_per_s: float


async def drive(model: Model, load: Load) -> list[Served]:
    """Run the load; what each caller saw, in the order of the asks."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    if not load.at_once:
        return list(await asyncio.gather(*(_later(model, ask, began + ask.at_s) for ask in load.asks)))
    seen: list[Served | None] = [None] * len(load.asks)
    remaining = iter(range(len(load.asks)))

    async def caller() -> None:
        for index in remaining:
            seen[index] = await _ask(model, load.asks[index])

    await asyncio.gather(*(caller() for _ in range(load.at_once)))
    return [served for served in seen if served is not None]


async def _later(model: Model, ask: Ask, when: float) -> Served:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, when - loop.time()))
    return await _ask(model, ask)


async def _ask(model: Model, ask: Ask) -> Served:
    loop = asyncio.get_running_loop()
    asked_at, prompt_tokens, tokens = loop.time(), 0, 0
    chunks_at: list[float] = []
    async for chunk in model.stream(ModelRequest(ask.messages, max_tokens=ask.max_tokens, deadline_s=DEADLINE_S)):
        if chunk.text or (chunk.result is not None and not chunks_at):
            chunks_at.append(loop.time())
        if chunk.result is not None:
            prompt_tokens, tokens = chunk.result.prompt_tokens, chunk.result.completion_tokens
    return Served(asked_at, tuple(chunks_at), prompt_tokens, tokens)


def figures(seen: Sequence[Served]) -> Figures:
    gaps = [after - before for served in seen for before, after in pairwise(served.chunks_at)]
    whole_s = max(served.chunks_at[-1] for served in seen) - min(served.asked_at for served in seen)
    return Figures(
        ttft_p50_s=quantile([served.chunks_at[0] - served.asked_at for served in seen], 0.5),
        itl_p50_s=median(gaps) if gaps else 0.0,
        tokens_per_s=sum(served.tokens for served in seen) / whole_s,
    )


def words(rng: random.Random, count: int) -> str:
    """`count` common words: as many tokens, and hardly ever the same text twice."""
    return "".join(rng.choices(WORDS, k=count))


def story(rng: random.Random, prompt_tokens: int, output_tokens: int, at_s: float = 0.0) -> Ask:
    """A prompt of about `prompt_tokens` with nothing in common with others, whose answer would be long."""
    told = f"{rng.randrange(10**6)}:{words(rng, max(1, prompt_tokens - 45))}. Tell a very long story with all these words."
    return Ask((Message("user", told),), output_tokens, at_s)
