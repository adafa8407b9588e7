"""`keepword bench serve-settings`."""

from typing import Annotated

import typer

from bench.commands import Json, Quick, Seed, blocking

Only = Annotated[list[str] | None, typer.Option(help="An alternative's name; may be given again. Default: all.")]


def register(app: typer.Typer) -> None:
    @app.command("serve-settings")
    def serve_settings(json: Json = False, quick: Quick = False, seed: Seed = 0, only: Only = None) -> None:
        """Each of Ray Serve's settings against its defaults, in turns: turns/s, turn time, CPU a turn."""
        from bench.serve_settings.run import run

        blocking("settings", run, as_json=json, seed=seed, quick=quick, only=only)
