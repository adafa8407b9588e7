"""`keepword bench crosscheck`: our client and vLLM's, in turn, on the same simulated server with the very same prompts.

Two loads: a steady open loop, and a closed loop of so many requests at once. Every run has a fresh server (a prefix cache that
remembers the other client's prompts would favour whoever comes second), and the two clients take turns at going first.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.load.measure import Measured, measure
from bench.load.plan import Arrivals, LoadPlan, Prompt, Think
from bench.result import BenchResult, bar, quantile
from bench.stack import engine_server
from serving.models import ensure

AGREE = 0.05
TOKENIZER = "qwen2.5-coder-0.5b"
START_TIMEOUT_S, CLIENT_TIMEOUT_S, STOP_TIMEOUT_S = 60.0, 600.0, 15.0
# what both report. The mean gap is left out: vLLM also counts the one before the last chunk, which brings no token
METRICS = (
    "requests_per_s",
    "output_tokens_per_s",
    "ttft_mean_ms",
    "ttft_p50_ms",
    "gap_p50_ms",
    "whole_mean_ms",
    "whole_p50_ms",
)


@dataclass(frozen=True, slots=True)
class Load:
    """`rate_per_s` 0: a closed loop of `at_once` requests."""

    name: str
    requests: int
    rate_per_s: float = 0.0
    at_once: int = 0


@dataclass(frozen=True, slots=True)
class Sizes:
    loads: Sequence[Load] = (Load("steady", 160, rate_per_s=5.0), Load("closed", 160, at_once=16))
    repeats: int = 3
    profile: str = "l4-qwen3-8b-fp8"
    input_tokens: int = 512
    output_tokens: int = 64


QUICK = Sizes((Load("closed", 16, at_once=8),), repeats=1, input_tokens=64, output_tokens=8)


async def run(*, seed: int, quick: bool, progress: Callable[[int, int], None]) -> BenchResult:
    """Alternate the clients over every load and compare the medians of what they saw."""
    sizes = QUICK if quick else Sizes()
    seen: dict[str, dict[str, list[Mapping[str, float]]]] = {}
    done, all_runs = 0, 2 * sizes.repeats * len(sizes.loads)
    progress(done, all_runs)
    with TemporaryDirectory(prefix="keepword-crosscheck-") as name:
        folder = Path(name)
        for load in sizes.loads:
            for repeat in range(sizes.repeats):
                # vLLM's client makes the prompts, so it is first in the first run; a later pair may use those of the one before
                order = (_theirs, _ours) if repeat % 2 == 0 else (_ours, _theirs)
                for client in order:
                    with engine_server(sizes.profile, folder) as engine:
                        figures = await client(engine.url, load, sizes, folder, seed)
                    seen.setdefault(load.name, {}).setdefault(client.__name__.strip("_"), []).append(figures)
                    done += 1
                    progress(done, all_runs)
    return result(seen, sizes)


def result(seen: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], sizes: Sizes) -> BenchResult:
    """`seen`: load -> client -> the figures of each run."""
    medians = {
        load: {
            client: {metric: quantile([run[metric] for run in runs], 0.5) for metric in METRICS} for client, runs in by.items()
        }
        for load, by in seen.items()
    }
    ratios = {load: {metric: by["ours"][metric] / by["theirs"][metric] for metric in METRICS} for load, by in medians.items()}
    # a closed loop moves in lockstep: half of its requests wait for a prompt of the other half, and the median of the first
    # token lies in the empty middle between the two. It is told and not judged.
    told = {(load.name, "ttft_p50_ms") for load in sizes.loads if load.at_once}
    bars = {
        f"{load}_{metric}_apart": bar(abs(ratio - 1), None if (load, metric) in told else AGREE)
        for load, by in ratios.items()
        for metric, ratio in by.items()
    }
    failed = sum(run["failed"] for by in seen.values() for runs in by.values() for run in runs)
    detail = {
        "clients": {"ours": "keepword bench load --target openai", "theirs": "vllm bench serve (its code, vLLM 0.32)"},
        "sizes": asdict(sizes),
        "medians": medians,
        "ours_over_theirs": {load: {metric: round(ratio, 4) for metric, ratio in by.items()} for load, by in ratios.items()},
        "runs": seen,
    }
    return BenchResult("bench crosscheck", {**bars, "failed_requests": bar(failed, 0)}, detail)


async def _ours(url: str, load: Load, sizes: Sizes, folder: Path, seed: int) -> Mapping[str, float]:
    prompt = Prompt("simulated", sizes.input_tokens, 0, sizes.output_tokens, file=str(folder / f"{load.name}.json"))
    plan = LoadPlan(
        url,
        target="openai",
        arrivals=Arrivals("steady", load.rate_per_s) if load.rate_per_s else Arrivals("closed"),
        customers=load.at_once or 1,
        think=Think(0.0),
        duration_s=CLIENT_TIMEOUT_S,
        warmup_s=0.0,
        max_turns=load.requests,
        processes=1,
        seed=seed,
        prompt=prompt,
    )
    return figures_of(await measure(plan, None))


def figures_of(measured: Measured) -> dict[str, float]:
    """Our figures as `vllm bench serve` defines them: over the time from the first request sent to the last one answered, and
    from when a request was really sent."""
    figures = measured.figures
    ok, tokens = figures.counts["kind_ok"], figures.counts["usage_completion_tokens"]
    found: dict[str, float] = {
        "requests_per_s": ok / measured.elapsed_s,
        "output_tokens_per_s": tokens / measured.elapsed_s,
        "failed": sum(measured.errors.values()),
    }
    for ours, theirs in (("ttft_sent", "ttft"), ("gap", "gap"), ("turn_sent", "whole")):
        found[f"{theirs}_mean_ms"] = figures.summary(ours)["mean"] * 1000
        found[f"{theirs}_p50_ms"] = figures.at(ours, 0.5) * 1000
    return found


async def _theirs(url: str, load: Load, sizes: Sizes, folder: Path, seed: int) -> Mapping[str, float]:
    wanted = ["--request-rate", str(load.rate_per_s), "--burstiness", "inf"] if load.rate_per_s else []
    wanted += ["--max-concurrency", str(load.at_once)] if load.at_once else []
    arguments = {
        "backend": "openai-chat",
        "base-url": url,
        "endpoint": "/v1/chat/completions",
        "model": "simulated",
        "tokenizer": str(ensure(TOKENIZER, quiet=True)),
        "dataset-name": "random",
        "random-input-len": sizes.input_tokens,
        "random-output-len": sizes.output_tokens,
        "num-prompts": load.requests,
        "seed": seed,
        "result-dir": str(folder),
        "result-filename": "theirs.json",
        "ready-check-timeout-sec": 0,
        "percentile-metrics": "ttft,itl,e2el",
    }
    given = [f"--{name}={value}" for name, value in arguments.items()]
    command = [sys.executable, "-m", "bench.load.vllm_client", str(folder / f"{load.name}.json"), *given, *wanted]
    ran = await asyncio.to_thread(
        subprocess.run,
        [*command, "--ignore-eos", "--save-result", "--disable-tqdm"],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=CLIENT_TIMEOUT_S,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"vLLM's client ended with {ran.returncode}:\n{ran.stderr[-2000:]}")
    told: Mapping[str, Any] = json.loads((folder / "theirs.json").read_text(encoding="utf-8"))
    return {
        "requests_per_s": told["request_throughput"],
        "output_tokens_per_s": told["output_throughput"],
        "failed": told["failed"],
        "ttft_mean_ms": told["mean_ttft_ms"],
        "ttft_p50_ms": told["median_ttft_ms"],
        "gap_mean_ms": told["mean_itl_ms"],
        "gap_p50_ms": told["median_itl_ms"],
        "whole_mean_ms": told["mean_e2el_ms"],
        "whole_p50_ms": told["median_e2el_ms"],
    }
