"""`keepword eval …` and `keepword bench …`: the commands, their options, and the engine they run against."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from bench.result import BenchResult, show

eval_app = typer.Typer(help="Quality: does it do what it says?", no_args_is_help=True)
bench_app = typer.Typer(help="Speed: how fast, how much, compared with what?", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quick = Annotated[bool, typer.Option("--quick", help="The size that tests use.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
ModelName = Annotated[str | None, typer.Option(help="A name from `keepword models list`; default: the configured model.")]
PackName = Annotated[str | None, typer.Option(help="A pack's name or folder.")]


def _finish(measure: Callable[[], Awaitable[BenchResult]], *, as_json: bool) -> None:
    """Run, print, and exit 1 when a bar falls short."""

    async def run() -> BenchResult:
        return await measure()

    result = asyncio.run(run())
    show(result, as_json=as_json)
    raise typer.Exit(0 if result.ok else 1)


def _awaited(what: str, run: Callable[..., Awaitable[BenchResult]], *, as_json: bool, **given: object) -> None:
    """Run an evaluation with a progress bar called `what`."""
    from bench.progress import counting

    async def measure() -> BenchResult:
        with counting(what, quiet=as_json) as progress:
            return await run(progress=progress, **given)

    _finish(measure, as_json=as_json)


def _in_thread(what: str, run: Callable[..., BenchResult], *, as_json: bool, **given: object) -> None:
    """The same for one that blocks."""

    async def measure(*, progress: Callable[[int, int], None], **sizes: object) -> BenchResult:
        return await asyncio.to_thread(run, progress=progress, **sizes)

    _awaited(what, measure, as_json=as_json, **given)


@eval_app.command("planning")
def eval_planning(
    json: Json = False, quick: Quick = False, seed: Seed = 0, model: ModelName = None, pack: PackName = None
) -> None:
    """Scenario accuracy and invented ids over the planning messages: agent, retrieval alone, bare model."""
    from bench.local import open_local
    from bench.planning import run
    from bench.progress import counting

    async def measure() -> BenchResult:
        async with open_local(model=model, pack=pack) as desk:
            with counting("planning", quiet=json) as progress:
                return await run(desk.pack, desk.model, desk.retriever, seed=seed, quick=quick, progress=progress)

    _finish(measure, as_json=json)


@eval_app.command("decoding")
def eval_decoding(json: Json = False, quick: Quick = False, seed: Seed = 0, model: ModelName = None) -> None:
    """500 structured requests, 16 at once: empty or invalid outputs, and the time a request waits for its grammar."""
    from bench.decoding import DEPLOYED, run
    from bench.local import open_local
    from bench.progress import counting

    async def measure() -> BenchResult:
        async with open_local(model=model, further=tuple(DEPLOYED)) as desk:
            with counting("decoding", quiet=json) as progress:
                return await run(desk.model, seed=seed, quick=quick, progress=progress)

    _finish(measure, as_json=json)


@eval_app.command("adversarial")
def eval_adversarial(
    json: Json = False,
    quick: Quick = False,
    seed: Seed = 0,
    turns: Annotated[int, typer.Option(min=1, help="Hostile turns through the whole desk.")] = 10_000,
    proposals: Annotated[int, typer.Option(min=1, help="Proposals straight at the policy.")] = 100_000,
) -> None:
    """A hostile model, hostile customers and lying tools: is anything done that the rules forbid, is what is legal done?"""
    import logging

    from bench.adversarial import run

    logging.getLogger("keepword").setLevel(logging.CRITICAL)  # what attackers break is counted, not told

    _awaited("adversarial", run, as_json=json, turns=turns, proposals=proposals, seed=seed, quick=quick)


@eval_app.command("caps")
def eval_caps(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """1,000 claims of one weekly cap and races on one order, from four processes on PostgreSQL: is a cap ever exceeded?"""
    from bench.caps import run

    _in_thread("caps", run, as_json=json, seed=seed, quick=quick)


@eval_app.command("exactly-once")
def eval_exactly_once(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """Processes killed at every step of a write, answers lost, late, doubled: does money move exactly once?"""
    from bench.exactly_once import run

    _in_thread("databases", run, as_json=json, seed=seed, quick=quick)


@eval_app.command("audit")
def eval_audit(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """1,000 changes to the stored log, each found at its place; 200 sessions replayed bit for bit."""
    from bench.audit import run

    _awaited("audit", run, as_json=json, seed=seed, quick=quick)


@eval_app.command("packs")
def eval_packs(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """Sixty mistakes planted into packs: is each told with file and line, and is a sound pack left in peace?"""
    from bench.packs import run

    _in_thread("packs", run, as_json=json, seed=seed, quick=quick)


@bench_app.command("policy")
def bench_policy(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """A verdict over 300 and 10,000 clauses: time, memory, growth; the same rules in Rego and Cedar."""
    from bench.policy import run

    _in_thread("policy", run, as_json=json, seed=seed, quick=quick)


@bench_app.command("turn")
def bench_turn(json: Json = False, quick: Quick = False, seed: Seed = 0, model: ModelName = None) -> None:
    """Whole turns over HTTP, one customer at a time: LLM calls, time to the first verified sentence, turn time."""
    from bench.turn import run

    async def measure() -> BenchResult:
        return await asyncio.to_thread(run, seed=seed, quick=quick, model=model)

    _finish(measure, as_json=json)


@bench_app.command("demo")
def bench_demo(
    keep: Annotated[Path | None, typer.Option(help="Keep the state in this folder instead of a temporary one.")] = None,
    model: ModelName = None,
) -> None:
    """Start the stack, play a damaged item (English) and a coupon (Chinese) over HTTP, check the database, stop."""
    from bench.demo import play

    raise typer.Exit(0 if play(keep, model=model) else 1)
