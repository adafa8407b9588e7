"""`keepword models list|pull|verify`."""

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table

from agents.domain.errors import KeepwordError
from serving.models import default_name, ensure, entries
from serving.models import entry as known
from serving.models.catalog import Entry, Hub
from serving.models.convert import MANIFEST, complete, faults, folder_name
from serving.models.fetch import default_cache, sha256_of

app = typer.Typer(name="models", help="Model files: what there is, fetching, checking.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
Cache = Annotated[Path | None, typer.Option("--cache", help="Folder for model files.", show_default="the user's cache folder")]


def ready_folder(entry: Entry, cache: Path) -> Path:
    """Where the folder the engine loads is, or will be."""
    if entry.file is not None:
        return cache / "ready" / folder_name(entry)
    revision = next((source.revision[:12] for source in entry.sources if isinstance(source, Hub)), "local")
    return cache / "ready" / f"{entry.name}-{revision}"


@app.command("list")
def list_models(as_json: AsJson = False, cache: Cache = None) -> None:
    """Every model in the catalogue and whether it is ready here."""
    place, every, default = cache or default_cache(), entries(), default_name()
    rows = [
        {
            "name": entry.name,
            "default": entry.name == default,
            "task": entry.task,
            "license": entry.license,
            "profiles": list(entry.engine),
            "recipe": entry.recipe,
            "download_bytes": entry.file.size_bytes if entry.file else None,
            "ready": complete(ready_folder(entry, place)),
            "folder": str(ready_folder(entry, place)),
            "about": entry.about,
        }
        for entry in every
    ]
    if as_json:
        typer.echo(json.dumps({"models": rows}, indent=2))
        return
    table = Table(Column("model", no_wrap=True), "profile", "download", "ready", "license")
    for row, entry in zip(rows, every, strict=True):
        size = decimal(entry.file.size_bytes) if entry.file else "from the hub"
        name = f"{entry.name} *" if row["default"] else entry.name
        ready = "yes" if row["ready"] else "no"
        table.add_row(name, ", ".join(entry.engine), size, ready, entry.license)
    console = Console()
    console.print(table)
    for entry in every:
        mark = " (*, the default)" if entry.name == default else ""
        console.print(f"{entry.name}{mark}: {entry.about}", highlight=False, markup=False)


@app.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Models; the default one when none is named.")] = None,
    profile: Annotated[str, typer.Option(help="Engine profile: cpu or gpu.")] = "cpu",
    as_json: AsJson = False,
    cache: Cache = None,
) -> None:
    """Download, check and convert models. Run it again after an interruption: it goes on."""
    folders: dict[str, str] = {}
    try:
        for name in names or [default_name()]:
            folders[name] = str(ensure(name, profile, quiet=as_json, cache=cache))
            if not as_json:
                typer.echo(f"{name}: {folders[name]}")
    except KeepwordError as error:
        _fail(error, as_json)
    if as_json:
        typer.echo(json.dumps({"folders": folders}, indent=2))


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Models; every one that is here when none is named.")] = None,
    as_json: AsJson = False,
    cache: Cache = None,
) -> None:
    """Read every byte again and compare digests. What is wrong is no longer trusted: the next pull makes it anew."""
    place = cache or default_cache()
    try:
        asked = tuple(known(name) for name in names) if names else entries()
    except KeepwordError as error:
        _fail(error, as_json)
    found = {entry.name: _faults(entry, place) for entry in asked if names or ready_folder(entry, place).exists()}
    if as_json:
        typer.echo(json.dumps({"faults": {name: list(wrong) for name, wrong in found.items()}}, indent=2))
    else:
        for name, wrong in found.items():
            typer.echo(f"{name}: {'every digest matches' if not wrong else 'WRONG: ' + ', '.join(wrong)}")
        if not found:
            typer.echo("no model is here yet; run `keepword models pull`")
    if any(found.values()):
        raise typer.Exit(1)


def _faults(entry: Entry, cache: Path) -> tuple[str, ...]:
    """What is wrong with a model's files. A wrong download is removed, a wrong folder loses its manifest."""
    wrong: list[str] = []
    if entry.file is not None:
        download = cache / "files" / entry.file.sha256 / entry.file.name
        if download.exists() and sha256_of(download) != entry.file.sha256:
            download.unlink()
            wrong.append(entry.file.name)
    folder = ready_folder(entry, cache)
    in_folder = faults(folder)
    if in_folder:
        (folder / MANIFEST).unlink(missing_ok=True)
    return (*wrong, *in_folder)


def _fail(error: KeepwordError, as_json: bool) -> NoReturn:
    """As JSON for a script; for a person the command line's own way of showing errors."""
    if not as_json:
        raise error
    typer.echo(json.dumps({"error": {"type": error.type, "message": error.message, "hint": error.hint}}, indent=2))
    raise typer.Exit(1)
