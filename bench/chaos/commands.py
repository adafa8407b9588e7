"""`keepword bench chaos`."""

from typing import Annotated, Literal

import typer

from bench.commands import Json, Quick, Seed, blocking

Ingress = Annotated[Literal["ray", "haproxy"], typer.Option(help="Who takes HTTP: Serve's own proxy, or HAProxy under Serve.")]


def register(app: typer.Typer) -> None:
    @app.command("chaos")
    def chaos(json: Json = False, quick: Quick = False, seed: Seed = 0, ingress: Ingress = "ray") -> None:
        """Kill engine, desk, proxy and controller, take the database away and replace every replica, under load: no turn lost,
        no action lost or doubled?"""
        from bench.chaos.run import run

        blocking("blows", run, as_json=json, seed=seed, quick=quick, ingress=ingress)
