"""`keepword bench report`."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this room."""
    app.command("report")(bench_report)


def bench_report(
    results: Annotated[Path, typer.Argument(help="Folder of results: JSON files of `--save` or `--json >`.")] = Path(
        "var/bench"
    ),
    out: Annotated[Path | None, typer.Option(help="Folder to write into; default: `report` in the results' folder.")] = None,
) -> None:
    """One HTML page, with plots and tables, of every result in a folder; PNGs and the JSON behind them beside it."""
    from rich.console import Console

    from bench.report.report import write

    page = write(results, out or results / "report")
    Console().print(f"{page}")
