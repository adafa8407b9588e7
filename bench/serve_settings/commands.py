"""`keepword bench serve-settings`."""

import typer

from bench.commands import Json, Quick, Seed, in_thread


def register(app: typer.Typer) -> None:
    @app.command("serve-settings")
    def serve_settings(json: Json = False, quick: Quick = False, seed: Seed = 0) -> None:
        """Each of Ray Serve's settings against its defaults, in turns: turns/s, turn time, CPU a turn."""
        from bench.serve_settings.run import run

        in_thread("settings", run, as_json=json, seed=seed, quick=quick)
