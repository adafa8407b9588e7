"""`keepword bench load`, `capacity`, `soak` and `crosscheck`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from agents.domain.errors import BadInput
from bench.commands import Json, Quick, Seed, finish
from bench.load.plan import Arrivals, LoadPlan, Prompt, Shape, Slo, Think
from bench.result import BenchResult

GPU, INSTANT = "simulated:l4-qwen3-8b-fp8", "simulated:instant"
Url = Annotated[str | None, typer.Option(help="A stack on this machine; without it, one of its own on --engine.")]
Engine = Annotated[str, typer.Option(help="For a stack of its own: simulated:PROFILE, or a model's name.")]
Postgres = Annotated[bool, typer.Option("--postgres", help="For a stack of its own: on PostgreSQL instead of SQLite.")]
Target = Annotated[Literal["desk", "openai"], typer.Option(help="Our desk, or any OpenAI-compatible server.")]
Processes = Annotated[int, typer.Option(min=1, help="Processes of the generator.")]
ThinkS = Annotated[float, typer.Option("--think", min=0, help="Mean seconds between a reply and the next message.")]
Law = Annotated[Literal["exponential", "lognormal", "constant"], typer.Option(help="How thinking times spread.")]
Of = Annotated[
    Literal["turns", "visits"], typer.Option(help="What arrives: one turn each, or new customers with whole visits.")
]
Tenants = Annotated[str, typer.Option(help="Mix of tenants by weight, for example north=3,south=1.")]
Locale = Annotated[str, typer.Option(help="Languages of the customers.")]
First = Annotated[float, typer.Option("--slo-first", min=0.001, help="Seconds to the first verified sentence.")]
Whole = Annotated[float, typer.Option("--slo-turn", min=0.001, help="Seconds to the end of the turn.")]
Share = Annotated[float, typer.Option("--slo-share", min=0.01, max=1, help="Share of turns within both.")]
ModelName = Annotated[str, typer.Option("--model", help="openai: the model to ask; default: the first one listed.")]
InputTokens = Annotated[int, typer.Option(min=1, help="openai: tokens of a prompt.")]
PrefixTokens = Annotated[int, typer.Option(min=0, help="openai: how many of them every prompt shares.")]
OutputTokens = Annotated[int, typer.Option(min=1, help="openai: tokens of an answer.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("load")(bench_load)
    app.command("capacity")(bench_capacity)
    app.command("soak")(bench_soak)
    app.command("crosscheck")(bench_crosscheck)


def bench_load(
    json: Json = False,
    quick: Quick = False,
    seed: Seed = 0,
    url: Url = None,
    engine: Engine = GPU,
    postgres: Postgres = False,
    target: Target = "desk",
    shape: Annotated[Shape, typer.Option(help="How load arrives.")] = "poisson",
    of: Of = "turns",
    rate: Annotated[float, typer.Option(min=0.01, help="Turns a second (mean); ramp: at the start.")] = 5.0,
    end_rate: Annotated[float, typer.Option(min=0, help="ramp: turns a second at the end.")] = 20.0,
    burst_factor: Annotated[float, typer.Option(min=1, help="bursts: times the mean rate.")] = 4.0,
    burst_share: Annotated[float, typer.Option(min=0.01, max=0.99, help="bursts: share of the time.")] = 0.2,
    burst_s: Annotated[float, typer.Option(min=0.1, help="bursts: mean seconds of one.")] = 5.0,
    customers: Annotated[int, typer.Option(min=1, help="Sessions open from the start; closed: all there are.")] = 50,
    think_s: ThinkS = 5.0,
    law: Law = "exponential",
    seconds: Annotated[float, typer.Option(min=1, help="How long customers come.")] = 60.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds at the start that are not counted.")] = 15.0,
    processes: Processes = 2,
    tenants: Tenants = "",
    locale: Locale = "en,zh",
    retry_after: Annotated[
        Literal["honour", "ignore"], typer.Option(help="After a 429: come back in time, or give up.")
    ] = "ignore",
    slo_first: First = 2.0,
    slo_turn: Whole = 5.0,
    slo_share: Share = 0.99,
    model: ModelName = "",
    input_tokens: InputTokens = 512,
    prefix_tokens: PrefixTokens = 0,
    output_tokens: OutputTokens = 128,
) -> None:
    """One load against a stack: latencies from the intended send time, goodput, errors, CPU and memory by process."""
    from bench.load.load import run
    from bench.load.place import place
    from bench.progress import counting

    seconds, warmup = (6.0, 2.0) if quick else (seconds, warmup)

    async def measure() -> BenchResult:
        with place(url, engine=engine, postgres=postgres) as where, counting("load", quiet=json) as progress:
            plan = LoadPlan(
                where.url,
                target=target,
                arrivals=Arrivals(shape, rate, end_rate, burst_factor, burst_share, burst_s, of),
                customers=min(customers, 10) if quick else customers,
                think=Think(think_s, law),
                slo=Slo(slo_first, slo_turn, slo_share),
                duration_s=seconds,
                warmup_s=min(warmup, seconds),
                processes=processes,
                seed=seed,
                tenants=mix(tenants),
                locales=tuple(locale.split(",")),
                retry_after=retry_after,
                prompt=Prompt(model, input_tokens, prefix_tokens, output_tokens),
            )
            result = await run(plan, where, tell=lambda window: progress(int(min(window.end_s, seconds)), int(seconds)))
            warn(result)
            return result

    finish(measure, as_json=json)


def bench_capacity(
    json: Json = False,
    quick: Quick = False,
    seed: Seed = 0,
    url: Url = None,
    engine: Engine = GPU,
    postgres: Postgres = False,
    target: Target = "desk",
    shape: Annotated[Literal["poisson", "bursts", "steady"], typer.Option(help="How load arrives.")] = "poisson",
    of: Of = "turns",
    think_s: ThinkS = 5.0,
    law: Law = "exponential",
    trial_seconds: Annotated[float, typer.Option(min=2, help="Length of one trial.")] = 25.0,
    repeats: Annotated[int, typer.Option(min=1, help="Independent bisections.")] = 5,
    lowest: Annotated[float, typer.Option(min=0.01, help="Turns a second to begin with.")] = 1.0,
    highest: Annotated[float, typer.Option(min=0.01, help="Turns a second to end with.")] = 2000.0,
    processes: Processes = 2,
    slo_first: First = 2.0,
    slo_turn: Whole = 5.0,
    slo_share: Share = 0.99,
    model: ModelName = "",
    input_tokens: InputTokens = 512,
    prefix_tokens: PrefixTokens = 0,
    output_tokens: OutputTokens = 128,
) -> None:
    """The largest rate that meets an objective, by bisection, with a confidence interval over repeated searches."""
    from bench.load.capacity import QUICK, Sizes, run
    from bench.load.place import place

    sizes = QUICK if quick else Sizes(trial_s=trial_seconds, repeats=repeats, lowest_per_s=lowest, highest_per_s=highest)

    async def measure() -> BenchResult:
        with place(url, engine=engine, postgres=postgres) as where:
            plan = LoadPlan(
                where.url,
                target=target,
                arrivals=Arrivals(shape, of=of),
                think=Think(think_s, law),
                slo=Slo(slo_first, slo_turn, slo_share),
                processes=processes,
                prompt=Prompt(model, input_tokens, prefix_tokens, output_tokens),
            )
            return await run(plan, where, sizes, seed=seed, progress=None if json else tell)

    finish(measure, as_json=json)


def bench_soak(
    json: Json = False,
    quick: Quick = False,
    seed: Seed = 0,
    engine: Engine = INSTANT,
    postgres: Postgres = False,
    sessions: Annotated[int | None, typer.Option(min=1, help="Sessions open at once; default 10,000.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="How long, counted from when 99 % of the customers have spoken; default 30.")
    ] = None,
    think: Annotated[
        float | None, typer.Option(min=0.1, help="Mean seconds to think; default 60, or what a short probe says is carried.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes of the generator; default 2.")] = None,
    journal: Annotated[Path | None, typer.Option(help="Write progress here as it goes, a line of JSON each time.")] = None,
) -> None:
    """10,000 sessions open at once for half an hour: nothing lost, nothing broken, CPU and memory held."""
    from bench.load.place import place
    from bench.load.soak import QUICK, Journal, Sizes, run, smaller

    sizes = smaller(QUICK if quick else Sizes(), sessions=sessions, minutes=minutes, think_s=think, processes=processes)

    async def measure() -> BenchResult:
        with place(None, engine=engine, postgres=postgres) as where:
            kept = Journal(journal, None if json else tell)
            return await run(where, sizes, journal=kept, seed=seed, quick=quick)

    finish(measure, as_json=json)


def bench_crosscheck(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
    """Our client and `vllm bench serve` on the same simulated server: do both see the same throughput and latency?"""
    from bench.load.crosscheck import run
    from bench.progress import counting

    async def measure() -> BenchResult:
        with counting("crosscheck", quiet=json) as progress:
            return await run(seed=seed, quick=quick, progress=progress)

    finish(measure, as_json=json)


def mix(tenants: str) -> dict[str, float]:
    """`north=3,south=1` as weights. Raises BadInput."""
    try:
        found = {name.strip(): float(weight) for name, weight in (pair.split("=") for pair in tenants.split(",") if pair)}
    except ValueError as error:
        raise BadInput(f"--tenants {tenants!r} is not a mix", field="tenants", hint="For example north=3,south=1.") from error
    if any(weight <= 0 for weight in found.values()):
        raise BadInput("a tenant's weight must be above 0", field="tenants", hint="For example north=3,south=1.")
    return found


def warn(result: BenchResult) -> None:
    """Say on stderr when the figures are the generator's more than the service's."""
    generator = result.detail["generator"]
    if generator["is_the_bottleneck"]:
        tell(
            f"The load generator is the bottleneck: {generator['busiest_share_of_a_core']:.0%} of a core in one process, "
            f"{generator['late_p99_s'] * 1000:.0f} ms late (p99). Use more --processes or a lower rate."
        )


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
