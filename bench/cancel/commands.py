"""`keepword bench cancel`."""

import typer

from bench.commands import Json, ModelName, Quick, Seed, awaited


def register(app: typer.Typer) -> None:
    @app.command("cancel")
    def bench_cancel(json: Json = False, quick: Quick = False, seed: Seed = 0, model: ModelName = None) -> None:
        """Clients that leave mid-stream: how soon is their place in the engine free?"""
        from bench.cancel.run import run
        from serving.settings import Settings

        awaited("clients that leave", run, as_json=json, seed=seed, quick=quick, model=model or Settings.load().model)
