"""`keepword`: the command line. Rooms bring their commands; packages above serving add theirs as entry points."""

import os
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer
from rich.console import Console

from agents.domain.errors import KeepwordError

COMMANDS_GROUP = "keepword.commands"


def build_app() -> typer.Typer:
    """The whole command tree. Heavy imports stay inside the commands."""
    from serving.audit_cli import app as audit_app
    from serving.chat import chat
    from serving.index_cli import app as index_app
    from serving.keys_cli import app as keys_app
    from serving.models.cli import app as models_app
    from serving.observe.top.command import top
    from serving.pack_cli import app as pack_app
    from serving.policy_cli import app as policy_app

    app = typer.Typer(
        name="keepword",
        help="Customer-service agents that keep their word.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.command("serve")(serve_command)
    app.command("chat")(chat)
    app.command("top")(top)
    app.add_typer(models_app, name="models", help="Model files: list, pull, verify.")
    app.add_typer(index_app, name="index", help="The retrieval index: build, search.")
    app.add_typer(audit_app, name="audit", help="The log: verify, show, replay, erase.")
    app.add_typer(keys_app, name="keys", help="API keys: create, list, revoke.")
    app.add_typer(pack_app, name="pack", help="Packs: begin one, check one.")
    app.add_typer(policy_app, name="policy", help="A pack's policy: check, explain, diff.")
    for point in sorted(entry_points(group=COMMANDS_GROUP), key=lambda point: point.name):
        app.add_typer(point.load(), name=point.name)
    return app


def serve_command(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    model: Annotated[str | None, typer.Option(help="A name from `keepword models list`, or `scripted`.")] = None,
    pack: Annotated[str | None, typer.Option(help="A pack's name or folder.")] = None,
) -> None:
    """Run the whole stack: engine, desk, HTTP API and console page. Ends on Ctrl-C or SIGTERM."""
    from serving import serve_settings
    from serving.settings import Settings

    given = {"host": host, "port": port, "model": model, "pack": pack}
    settings = Settings.load(**{name: value for name, value in given.items() if value is not None})
    serve_settings.keep_on_loopback(os.environ)
    from serving.serve import run_until_stopped

    run_until_stopped(settings)


def main() -> None:
    """Entry point: an error of ours is a sentence and a hint, not a stack trace. Exit status 1 for it, 130 for Ctrl-C."""
    try:
        build_app()()
    except KeepwordError as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[red]{error.type}[/red]: {error.message}", highlight=False)
        if error.hint:
            console.print(f"[dim]{error.hint}[/dim]", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
