"""`keepword bench cost`."""

import typer

from bench.commands import Json, Quick, Seed
from bench.result import show


def register(app: typer.Typer) -> None:
    @app.command("cost")
    def cost(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
        """A turn in our own code, with an instant model: CPU and where it goes, transactions, memory a session, growth."""
        from bench.cost.run import run
        from bench.progress import counting

        with counting("cost", quiet=json) as progress:
            result = run(seed=seed, quick=quick, progress=progress)
        show(result, as_json=json)
        raise typer.Exit(0 if result.ok else 1)
