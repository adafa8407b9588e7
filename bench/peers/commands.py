"""`keepword bench compare`."""

from enum import StrEnum
from typing import Annotated

import typer

from bench.commands import Json, Quick, blocking


class Part(StrEnum):
    PROXIES = "proxies"
    TURNS = "turns"


def register(app: typer.Typer) -> None:
    @app.command("compare")
    def compare(
        json: Json = False,
        quick: Quick = False,
        only: Annotated[Part | None, typer.Option(help="One half alone.")] = None,
    ) -> None:
        """Peers side by side in one run: proxies before the same simulated engine, and whole three-agent turns over it."""
        from bench.peers.compare import run

        blocking("compare", run, as_json=json, quick=quick, only=only.value if only else "")
