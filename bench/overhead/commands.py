"""`keepword bench overhead`."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from bench.commands import Json, ModelName, Quick, Seed, blocking

CORES: Final = "apart: the engines compute on all cores but the last, all else runs on that one; shared: all on all."


def register(app: typer.Typer) -> None:
    @app.command("overhead")
    def bench_overhead(
        json: Json = False,
        quick: Quick = False,
        seed: Seed = 0,
        model: ModelName = None,
        rounds: Annotated[int, typer.Option(min=1, help="Each measures every load on both servers.")] = 5,
        cores: Annotated[Literal["apart", "shared"], typer.Option(help=CORES)] = "apart",
        raw: Annotated[Path | None, typer.Option(help="Write every request's times to this file.")] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Keep the rounds --raw holds; measure those that lack.")] = False,
    ) -> None:
        """Our OpenAI endpoint against bare `vllm serve`: throughput, time to the first token, time between tokens."""
        from bench.overhead.cores import Cores
        from bench.overhead.run import run
        from serving.settings import Settings

        name = model or Settings.load().model
        chosen = Cores.apart() if cores == "apart" else Cores.shared()
        sizes = {"seed": seed, "quick": quick, "model": name, "rounds": rounds, "cores": chosen, "raw": raw, "resume": resume}
        blocking("rounds", run, as_json=json, **sizes)
