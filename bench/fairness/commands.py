"""`keepword bench fairness`."""

import typer

from bench.commands import Json, Quick, Seed, awaited


def register(app: typer.Typer) -> None:
    @app.command("fairness")
    def bench_fairness(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
        """A tenant at ten times its share, and three times the capacity: the p99 of the others, the goodput that is left."""
        from bench.fairness.run import run

        awaited("fairness", run, as_json=json, seed=seed, quick=quick)
