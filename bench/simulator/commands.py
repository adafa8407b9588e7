"""`keepword bench calibrate`, `tune` and `simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands import Json, ModelName, Quick, Seed, finish
from bench.result import BenchResult


def register(app: typer.Typer) -> None:
    """Add this room's commands to `keepword bench`."""
    app.command("calibrate")(calibrate)


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
