"""`keepword bench calibrate`, `tune` and `simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands import Json, ModelName, Quick, Seed, blocking, finish
from bench.result import BenchResult


def register(app: typer.Typer) -> None:
    """Add this room's commands to `keepword bench`."""
    app.command("calibrate")(calibrate)
    app.command("tune")(tune)
    app.command("simulate")(simulate)


def calibrate(
    json: Json = False,
    quick: Quick = False,
    seed: Seed = 0,
    model: ModelName = None,
    write: Annotated[bool, typer.Option("--write", help="Write the simulator's profile of this CPU.")] = False,
    raw: Annotated[Path | None, typer.Option(help="Keep every step and every request seen in this folder.")] = None,
) -> None:
    """The simulated engine against the real one on this CPU: fitted on some loads, held against five others. 14 minutes."""
    from bench.progress import counting
    from bench.simulator.calibrate import run
    from bench.simulator.profile import PROFILES
    from bench.simulator.real_engine import real_engine

    async def measure() -> BenchResult:
        written_to = Path(str(PROFILES / "cpu.toml")) if write else None
        async with real_engine(model) as engine:
            with counting("calibrate", quiet=json) as progress:
                return await run(engine, seed=seed, quick=quick, progress=progress, written_to=written_to, raw=raw)

    finish(measure, as_json=json)


def tune(
    json: Json = False,
    quick: Quick = False,
    seed: Seed = 0,
    profile: Annotated[str, typer.Option(help="A simulated engine: `cpu`, or GPU-MODEL.")] = "l4-qwen3-8b-fp8",
    real: Annotated[bool, typer.Option("--real", help="The real engine on this CPU instead (minutes a candidate).")] = False,
    slo: Annotated[float, typer.Option(help="First verified sentence within so many seconds, for 95 % of the turns.")] = 1.0,
    trials: Annotated[int, typer.Option(min=1, help="Candidates at most.")] = 150,
    model: Annotated[str | None, typer.Option(help="The name in models.toml the winner is written for.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the winner's table of models.toml to this file.")] = None,
) -> None:
    """Engine and Serve settings with the best goodput under a service level, on a simulated engine or the real one."""
    from bench.simulator.profile import load_profile
    from bench.tuning.goodput import Level
    from bench.tuning.tune import Search, run
    from serving.models.catalog import load as catalog

    name = "cpu" if real else profile
    named = model or (catalog().default if name == "cpu" else name.partition("-")[2])
    wanted = Search(load_profile(name), Level(slo), named, min(trials, 6) if quick else trials, real=real)
    blocking("candidates", run, as_json=json, wanted=wanted, seed=seed, write=write)


def simulate(
    json: Json = False,
    quick: Quick = False,
    seed: Seed = 0,
    profile: Annotated[str, typer.Option(help="The engine of every replica: `cpu`, or GPU-MODEL.")] = "l4-qwen3-8b-fp8",
    users: Annotated[float, typer.Option(min=1, help="Daily users of the marketplace.")] = 1e8,
    contacts: Annotated[float, typer.Option(min=0, help="Sessions a daily user begins, on average.")] = 0.01,
    turns: Annotated[float, typer.Option(min=1, help="Turns of a session, on average.")] = 3.5,
    bursts: Annotated[int, typer.Option(min=0, help="Sales of ten minutes in the day.")] = 4,
    burst_factor: Annotated[float, typer.Option(min=1, help="Times the sessions during a sale.")] = 2.0,
    slo: Annotated[float, typer.Option(help="First verified sentence within so many seconds.")] = 2.0,
    max_ongoing: Annotated[int, typer.Option(min=1, help="Turns a replica takes at once.")] = 64,
    load: Annotated[float, typer.Option(help="Share of a replica's capacity the autoscaler aims at.")] = 0.6,
    cold_start: Annotated[float, typer.Option(help="Seconds until a new replica serves.")] = 120.0,
    failures: Annotated[float, typer.Option(help="Failures of a replica in a day.")] = 0.1,
    resolved: Annotated[float, typer.Option(help="Share of sessions that end without a person: your own figure.")] = 0.8,
    price: Annotated[float | None, typer.Option(help="US dollars a replica-hour; default: the card's in gpus.toml.")] = None,
) -> None:
    """A fleet over a day: service level attained, GPU-hours, cost a resolved case; up to 100 million daily users."""
    from bench.fleet.simulate import Wanted, run, show_hours
    from bench.progress import counting
    from bench.simulator.profile import load_profile
    from bench.simulator.roofline import derived_names, gpu_of

    known = profile in derived_names()
    wanted = Wanted(
        users=users,
        price_per_hour_usd=price if price is not None else gpu_of(profile).price_per_hour_usd if known else 0.0,
        contacts_per_user=contacts,
        turns=turns,
        bursts=bursts,
        burst_factor=burst_factor,
        resolved=resolved,
        slo_s=slo,
        max_ongoing_requests=max_ongoing,
        aimed_load=load,
        cold_start_s=cold_start,
        failures_per_replica_day=failures,
    )

    async def measure() -> BenchResult:
        with counting("the day", quiet=json) as progress:
            result = await run(load_profile(profile), wanted, seed=seed, quick=quick, progress=progress)
        if not json:
            show_hours(result)
        return result

    finish(measure, as_json=json)
