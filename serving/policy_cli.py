"""`keepword policy …`: is the pack sound?"""

import json
from typing import Annotated

import typer
from rich.console import Console

from agents.domain.errors import Mistake, PackInvalid
from agents.packs.loader import load_pack

app = typer.Typer(no_args_is_help=True)


@app.callback()
def policy() -> None:
    """A pack's policy: check it."""


@app.command("check")
def check(
    pack: Annotated[str, typer.Option(help="A pack's name or folder.")] = "shop",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Report every mistake in a pack with file and line. Exit status 1 when there is one."""
    mistakes: tuple[Mistake, ...] = ()
    summary: dict[str, object] = {}
    try:
        loaded = load_pack(pack)
        summary = {
            "name": loaded.name,
            "clauses": len(loaded.clauses),
            "scenarios": len(loaded.scenarios),
            "exemplars": len(loaded.exemplars),
        }
    except PackInvalid as error:
        mistakes = error.mistakes
    if as_json:
        rows = [{"file": m.file, "line": m.line, "message": m.message, "hint": m.hint} for m in mistakes]
        print(json.dumps({"ok": not mistakes, "mistakes": rows, **summary}, ensure_ascii=False))
    else:
        console = Console(soft_wrap=True, highlight=False)
        for mistake in mistakes:
            console.print(str(mistake), markup=False)
        console.print(f"{len(mistakes)} mistakes" if mistakes else f"sound: {summary}", markup=False)
    raise typer.Exit(1 if mistakes else 0)
