"""`keepword bench observe`."""

import typer

from bench.commands import Json, Quick, Seed, awaited


def register(app: typer.Typer) -> None:
    @app.command("observe")
    def observe(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
        """CPU time that metrics, traces and logs add to a turn. No choice here is random: `--seed` changes nothing."""
        from bench.observe.cost import run

        awaited("watching turns", run, as_json=json, quick=quick)
