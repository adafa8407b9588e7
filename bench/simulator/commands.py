"""`keepword bench calibrate`, `tune` and `simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands import Json, ModelName, Quick, Seed, finish, in_thread
from bench.result import BenchResult


def register(app: typer.Typer) -> None:
    """Add this room's commands to `keepword bench`."""
    app.command("calibrate")(calibrate)
    app.command("tune")(tune)


def calibrate(
    json: Json = False,
    quick: Quick = False,
    seed: Seed = 0,
    model: ModelName = None,
    write: Annotated[bool, typer.Option("--write", help="Write the simulator's profile of this CPU.")] = False,
    raw: Annotated[Path | None, typer.Option(help="Keep every step and every request seen in this folder.")] = None,
) -> None:
    """The simulated engine against the real one on this CPU: fitted on some loads, held against five others. Some 7 minutes."""
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
    trials: Annotated[int, typer.Option(min=1, help="Candidates at most.")] = 60,
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
    in_thread("candidates", run, as_json=json, wanted=wanted, seed=seed, write=write)
