"""`keepword pack …`: begin a pack of your own, and see whether it is sound."""

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agents.domain.errors import BadInput
from agents.packs.loader import find_pack
from serving.policy_cli import JsonOption, check_pack

app = typer.Typer(no_args_is_help=True)
STARTER = "starter"


@app.callback()
def pack() -> None:
    """Packs: begin one, check one."""


@app.command("new")
def new(folder: Annotated[Path, typer.Argument(help="The folder to make; its name becomes the pack's.")]) -> None:
    """A small pack that is sound and runs, to be made your own."""
    name = folder.resolve().name
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise BadInput(
            f"{name!r} is no name for a pack", field="folder", hint="Small letters, digits, - and _, a letter first."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is there already and not empty", field="folder", hint="Name a folder that is not there.")
    shutil.copytree(find_pack(STARTER), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    main = folder / "pack.toml"
    main.write_text(main.read_text("utf-8").replace(f'name = "{STARTER}"', f'name = "{name}"', 1), "utf-8")
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{folder} holds a pack that works: late orders, refunds of their shipping, in English and Chinese.")
    console.print(f"  keepword pack check {folder}")
    console.print(f"  keepword policy explain late_order --pack {folder} --customer C-1 --slot order_id=A-1001")
    console.print(f"  keepword serve --pack {folder}")
    console.print("What each file means: agents/packs/README.md")


@app.command("check")
def check(folder: Annotated[str, typer.Argument(help="A pack's folder or name.")], as_json: JsonOption = False) -> None:
    """Report every mistake in a pack with file and line. Exit status 1 when there is one."""
    check_pack(folder, as_json=as_json)
