"""`keepword eval …` and `keepword bench …`: the commands. A room of `bench` with commands of its own registers them here."""

from pathlib import Path
from typing import Annotated

import typer

from bench.cancel import commands as cancel
from bench.chaos import commands as chaos
from bench.commands import Json, ModelName, PackName, Quick, Seed, awaited, blocking, finish, saving
from bench.cost import commands as cost
from bench.fairness import commands as fairness
from bench.load import commands as load
from bench.observe import commands as observe
from bench.overhead import commands as overhead
from bench.peers import commands as peers
from bench.report import commands as report
from bench.result import BenchResult
from bench.serve_settings import commands as serve_settings
from bench.simulator import commands as simulator

eval_app = typer.Typer(help="Quality: does it do what it says?", no_args_is_help=True, callback=saving)
bench_app = typer.Typer(help="Speed: how fast, how much, compared with what?", no_args_is_help=True, callback=saving)
cancel.register(bench_app)
chaos.register(bench_app)
cost.register(bench_app)
fairness.register(bench_app)
load.register(bench_app)
observe.register(bench_app)
overhead.register(bench_app)
peers.register(bench_app)
report.register(bench_app)
serve_settings.register(bench_app)
simulator.register(bench_app)


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

    finish(measure, as_json=json)


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

    finish(measure, as_json=json)


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

    awaited("adversarial", run, as_json=json, turns=turns, proposals=proposals, seed=seed, quick=quick)


@eval_app.command("caps")
def eval_caps(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """1,000 claims of one weekly cap and races on one order, from four processes on PostgreSQL: is a cap ever exceeded?"""
    from bench.caps import run

    blocking("caps", run, as_json=json, seed=seed, quick=quick)


@eval_app.command("exactly-once")
def eval_exactly_once(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """Processes killed at every step of a write, answers lost, late, doubled: does money move exactly once?"""
    from bench.exactly_once import run

    blocking("databases", run, as_json=json, seed=seed, quick=quick)


@eval_app.command("audit")
def eval_audit(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """1,000 changes to the stored log, each found at its place; 200 sessions replayed bit for bit."""
    from bench.audit import run

    awaited("audit", run, as_json=json, seed=seed, quick=quick)


@eval_app.command("packs")
def eval_packs(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """Sixty mistakes planted into packs: is each told with file and line, and is a sound pack left in peace?"""
    from bench.packs import run

    blocking("packs", run, as_json=json, seed=seed, quick=quick)


@bench_app.command("policy")
def bench_policy(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """A verdict over 300 and 10,000 clauses: time, memory, growth; the same rules in Rego and Cedar."""
    from bench.policy import run

    blocking("policy", run, as_json=json, seed=seed, quick=quick)


@bench_app.command("turn")
def bench_turn(json: Json = False, quick: Quick = False, seed: Seed = 0, model: ModelName = None) -> None:
    """Whole turns over HTTP, one customer at a time: LLM calls, time to the first verified sentence, turn time."""
    from bench.turn import run

    blocking("visits", run, as_json=json, seed=seed, quick=quick, model=model)


@bench_app.command("demo")
def bench_demo(
    keep: Annotated[Path | None, typer.Option(help="Keep the state in this folder instead of a temporary one.")] = None,
    model: ModelName = None,
) -> None:
    """Start the stack, play a damaged item (English) and a coupon (Chinese) over HTTP, check the database, stop."""
    from bench.demo import play

    raise typer.Exit(0 if play(keep, model=model) else 1)
