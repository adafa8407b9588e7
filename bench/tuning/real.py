"""Goodput of one candidate on the real CPU engine: every candidate in a process of its own, rates tried from low to high."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from agents.ports import Message, Model, ModelRequest
from bench.simulator.desk_turns import TurnShape
from bench.simulator.loads import words
from bench.tuning.goodput import KEPT, Goodput, Level
from bench.tuning.settings import Settings

RATES_PER_S: Final = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
SECONDS_A_RATE: Final = 16.0
MARK: Final = "REACHED "
DEADLINE_S: Final = 120.0


def real_goodput(
    model: str | None, settings: Settings, level: Level, seed: int, reached: Callable[[float], None] = lambda rate: None
) -> Goodput:
    """Start an engine with `settings.engine` and raise the rate until it no longer keeps the level. What Serve would admit is
    not part of it. Raises ChildProcessError when the engine did not start."""
    order = json.dumps({"model": model, "arguments": dict(settings.engine), "level": asdict(level), "seed": seed})
    best, failed_at = 0.0, 0.0
    with subprocess.Popen(
        [sys.executable, "-m", "bench.tuning.real", order], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            points = 0
            for line in process.stdout:
                if not line.startswith(MARK):
                    continue
                point = json.loads(line.removeprefix(MARK))
                points += 1
                kept = point["share"] >= KEPT
                best = point["rate_per_s"] if kept else best
                failed_at = 0.0 if kept else point["rate_per_s"] * point["share"]
                reached(best)
        finally:
            process.terminate()
            process.wait(timeout=60)
    if not points:
        raise ChildProcessError("the engine ended before it answered one turn")
    return Goodput(best, failed_at or best)


async def _child(order: Mapping[str, Any]) -> None:
    from serving.engine.config import EngineConfig
    from serving.engine.vllm_model import VllmModel
    from serving.models import ensure, entry
    from serving.models.catalog import load

    name = order["model"] or load().default
    arguments = {**entry(name).engine["cpu"], **order["arguments"]}
    model = VllmModel(EngineConfig.of(ensure(name, quiet=True), "cpu", arguments))
    try:
        rng = random.Random(order["seed"])
        await _turn(model, rng, TurnShape())
        for rate_per_s in RATES_PER_S:
            share = await _share(model, rng, rate_per_s, float(order["level"]["slo_s"]))
            print(MARK + json.dumps({"rate_per_s": rate_per_s, "share": share}), flush=True)
            if share < KEPT:
                break
    finally:
        model.close()


async def _share(model: Model, rng: random.Random, rate_per_s: float, slo_s: float) -> float:
    """Turns at random times for a while; the share whose two calls ended within the level."""
    turns: list[asyncio.Task[float]] = []
    loop = asyncio.get_running_loop()
    ends = loop.time() + SECONDS_A_RATE
    while loop.time() < ends:
        turns.append(asyncio.create_task(_turn(model, rng, TurnShape())))
        await asyncio.sleep(rng.expovariate(rate_per_s))
    took = await asyncio.gather(*turns)
    return sum(seconds <= slo_s for seconds in took) / len(took)


async def _turn(model: Model, rng: random.Random, shape: TurnShape) -> float:
    """The calls of a turn, one after the other; seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, call in enumerate(shape.calls):
        shared = words(random.Random(number), call.shared_tokens - 10)
        own = words(rng, call.prompt_tokens - call.shared_tokens + rng.randint(-call.spread, call.spread))
        messages = (Message("system", shared), Message("user", own))
        await model.generate(ModelRequest(messages, max_tokens=call.output_tokens, deadline_s=DEADLINE_S))
    return loop.time() - began


if __name__ == "__main__":
    asyncio.run(_child(json.loads(sys.argv[1])))
