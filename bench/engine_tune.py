"""Which CPU settings make the engine faster here: each choice against the default, one at a time.

The default engine and one variant run side by side, each in a process of its own, and are measured in turns: what else the
machine does meets both alike, so the ratio holds where the figures drift.

    python -m bench.engine_tune            # every variant
    python -m bench.engine_tune threads    # those whose name contains "threads"
    python -m bench.engine_tune memory --rounds 16
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any, Final

from rich.console import Console
from rich.table import Table

from agents.ports import Message, Model, ModelRequest
from bench.result import machine
from serving.engine.config import EngineConfig, allowed_cpus
from serving.models import default_name, ensure, entry
from serving.models.precision import Precision

ROUNDS: Final = 2
NEW_TOKENS: Final = 32
AT_ONCE: Final = 16
RUNNING: Final = 4
RULES, MANY_RULES = 50, 110  # some 900 and 2,000 tokens
MARK: Final = "MEASURED "


@dataclass(frozen=True, slots=True)
class Variant:
    """Changes against the default: vLLM arguments, our own fields by name, and the weights' precision."""

    name: str
    arguments: Mapping[str, Any]
    ours: Mapping[str, Any]
    precision: Precision | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """One round: tokens per second alone and 16 at once, prefill of some 900 new tokens, first token on a cached prefix, and
    the longest that four running streams wait for a token while a prompt of some 2,000 is read."""

    alone_tokens_per_s: float
    at_once_tokens_per_s: float
    prefill_tokens_per_s: float
    cached_first_token_s: float
    longest_gap_s: float


TIMES: Final = ("cached_first_token_s", "longest_gap_s")  # less is better

VARIANTS: Final = (
    Variant("precision: catalogued", {}, {}, "catalogued"),
    Variant("precision: float32", {}, {}, "float32"),
    Variant("threads: bound to every CPU", {}, {"threads": ",".join(map(str, allowed_cpus()))}),
    Variant("threads: nobind", {}, {"threads": "nobind"}),
    Variant("threads: auto (vLLM's own)", {}, {"threads": "auto"}),
    Variant("one thread", {}, {"omp_threads": 1}),
    Variant("threads: no spinning", {}, {"omp_spin_ms": 0}),
    Variant("no preload", {}, {"preload": []}),
    Variant("no huge pages", {}, {"huge_pages": False}),
    Variant("memory given back", {}, {"keep_memory": False}),
    Variant("compiled", {"enforce_eager": False}, {}),
    Variant("KV cache 2 GiB", {"kv_cache_memory_bytes": 2 << 30}, {}),
    Variant("block size 128", {"block_size": 128}, {}),
    Variant("max_num_batched_tokens 256", {"max_num_batched_tokens": 256}, {}),
    Variant("max_num_batched_tokens 1024", {"max_num_batched_tokens": 1024}, {}),
    Variant("max_num_batched_tokens 2048", {"max_num_batched_tokens": 2048}, {}),
    Variant("speculative: ngram 3", {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}}, {}),
)


def tune(names: Sequence[str] = (), *, model: str | None = None, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure the variants whose name contains one of `names` (all without names) and print the table.
    Returns {machine, default, variants: {NAME: {FIGURE: ratio}}, starts_s}; a ratio above 1 is better than the default."""
    wanted = [variant for variant in VARIANTS if not names or any(name in variant.name for name in names)]
    results: dict[str, dict[str, float]] = {}
    starts: dict[str, float] = {}
    table = _table()
    console = Console(width=120)
    with child(Variant("default", {}, {}), model) as (default, default_start_s):
        starts["default"] = default_start_s
        baseline: Figures | None = None
        for variant in wanted:
            with child(variant, model) as (other, start_s):
                pairs = [_pair(default, other, default_first=number % 2 == 0) for number in range(rounds)]
            base, changed = (_median([pair[side] for pair in pairs]) for side in (0, 1))
            baseline = baseline or base
            starts[variant.name] = start_s
            results[variant.name] = ratios(pairs)
            table.add_row(variant.name, *(f"{ratio:.2f}" for ratio in results[variant.name].values()), f"{start_s:.0f} s")
            console.print(variant.name, base, changed)
    console.print(table)
    default_figures = asdict(baseline) if baseline is not None else {}
    return {"machine": machine(), "default": default_figures, "variants": results, "starts_s": starts}


Child = tuple[IO[str], IO[str]]


@contextmanager
def child(variant: Variant, model: str | None) -> Iterator[tuple[Child, float]]:
    """An engine in a fresh process, and how long it took to start, in seconds. It ends with the block."""
    order = json.dumps({"model": model, "variant": asdict(variant)})
    command = [sys.executable, "-m", "bench.engine_tune", "--child", order]
    started = time.perf_counter()
    environment = os.environ | _config(model, variant).environment(os.environ)
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pipes = process.stdin, process.stdout
        _answer(pipes)
        yield pipes, time.perf_counter() - started
        process.stdin.close()
        process.wait(timeout=60)


def measured(pipes: Child) -> Figures:
    """Have the child measure one round."""
    pipes[0].write("measure\n")
    pipes[0].flush()
    return Figures(**_answer(pipes))


def _pair(default: Child, other: Child, *, default_first: bool) -> tuple[Figures, Figures]:
    """A round of both, one right after the other."""
    if default_first:
        return measured(default), measured(other)
    changed = measured(other)
    return measured(default), changed


def _answer(pipes: Child) -> dict[str, Any]:
    for line in pipes[1]:
        if line.startswith(MARK):
            answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
            return answer
    raise ChildProcessError("the engine's process ended before it answered")


async def serve_child(order: Mapping[str, Any]) -> None:
    """The child's side: start the engine, then one round for each line read."""
    from serving.engine.vllm_model import VllmModel

    model = VllmModel(_config(order["model"], Variant(**order["variant"])))
    await round_of(model, 0)
    print(MARK + "{}", flush=True)
    number = 0
    while await asyncio.to_thread(sys.stdin.readline):
        number += 1
        print(MARK + json.dumps(asdict(await round_of(model, number))), flush=True)
    model.close()


def _config(model: str | None, variant: Variant) -> EngineConfig:
    name = model or default_name()
    ready = {key: tuple(map(Path, value)) if key == "preload" else value for key, value in variant.ours.items()}
    path = ensure(name, quiet=True, precision=variant.precision)
    arguments = {**entry(name, variant.precision).engine["cpu"], **variant.arguments}
    return EngineConfig.of(path, "cpu", arguments, **ready)


async def round_of(model: Model, number: int) -> Figures:
    """One round. `number` makes its prompts new, so that no earlier round's cache serves them."""
    policy = _policy(str(number), RULES)
    cold = await model.generate(_request(policy, "What is rule 7?"))
    warm = await model.generate(_request(policy, "What is rule 9?"))
    started = time.perf_counter()
    crowd = await asyncio.gather(*(model.generate(_request("", f"Tell story {number}-{one}.")) for one in range(AT_ONCE)))
    crowd_s = time.perf_counter() - started
    return Figures(
        alone_tokens_per_s=(warm.completion_tokens - 1) / (warm.total_s - warm.first_token_s),
        at_once_tokens_per_s=sum(result.completion_tokens for result in crowd) / crowd_s,
        prefill_tokens_per_s=(cold.prompt_tokens - cold.cached_tokens) / cold.first_token_s,
        cached_first_token_s=warm.first_token_s,
        longest_gap_s=await longest_gap_s(model, number),
    )


async def longest_gap_s(model: Model, number: int) -> float:
    """While a long new prompt is read beside `RUNNING` streams: the longest any of them waits for its next token."""
    clock, gaps, begun = asyncio.get_running_loop().time, list[float](), asyncio.Barrier(RUNNING + 1)

    async def stream(one: int) -> None:
        async with aclosing(model.stream(_request("", f"Tell story {number}-{one} again."))) as chunks:
            await anext(chunks)
            await begun.wait()
            before_s = clock()
            async for _ in chunks:
                now_s = clock()
                gaps.append(now_s - before_s)
                before_s = now_s

    streams = [asyncio.create_task(stream(one)) for one in range(RUNNING)]
    await begun.wait()
    await model.generate(_request(_policy(f"{number} long", MANY_RULES), "What is rule 7?"))
    await asyncio.gather(*streams)
    return max(gaps)


def _policy(name: str, rules: int) -> str:
    return " ".join(f"Rule {name}.{line}: items come back within {line + 3} days of delivery." for line in range(rules))


def _request(system: str, text: str) -> ModelRequest:
    messages = (Message("system", f"You serve customers. {system}"), Message("user", f"{text} Answer in fifty words."))
    return ModelRequest(messages, max_tokens=NEW_TOKENS, deadline_s=300.0)


def _median(figures: Sequence[Figures]) -> Figures:
    return Figures(**{name: median(getattr(one, name) for one in figures) for name in asdict(figures[0])})


def ratios(pairs: Sequence[tuple[Figures, Figures]]) -> dict[str, float]:
    """Medians of the pairs' ratios. Above 1: better than the default. Times are turned over."""
    found: dict[str, float] = {}
    for name in asdict(pairs[0][0]):
        each = [getattr(changed, name) / getattr(base, name) for base, changed in pairs]
        found[name] = median(1 / ratio if name in TIMES else ratio for ratio in each)
    return found


def _table() -> Table:
    table = Table(title="Ratio to the default (above 1: faster)", title_justify="left")
    table.add_column("variant")
    for column in ("tok/s, 1", f"tok/s, {AT_ONCE}", "prefill", "first token, cached", "longest gap", "start"):
        table.add_column(column, justify="right")
    return table


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        asyncio.run(serve_child(json.loads(sys.argv[2])))
    else:
        parser = argparse.ArgumentParser(description="Which CPU settings make the engine faster here.")
        parser.add_argument("names", nargs="*", help="only variants whose name contains one of these")
        parser.add_argument("--rounds", type=int, default=ROUNDS, help="pairs of measurements a variant")
        given = parser.parse_args()
        if given.rounds < 1:
            parser.error(f"--rounds {given.rounds}: at least 1")
        print(json.dumps(tune(given.names, rounds=given.rounds)))
