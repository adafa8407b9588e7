"""What every command of `eval` and `bench` shares: its options, its progress bar, and how it ends."""

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from bench.result import BenchResult, show

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quick = Annotated[bool, typer.Option("--quick", help="The size that tests use.")]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.")]
ModelName = Annotated[str | None, typer.Option(help="A name from `keepword models list`; default: the configured model.")]
PackName = Annotated[str | None, typer.Option(help="A pack's name or folder.")]
Save = Annotated[
    Path | None, typer.Option(help="Also keep the result in this folder, with its date and command, for `bench report`.")
]
_save_to: ContextVar[Path | None] = ContextVar("save_to", default=None)  # from a group's options to its command's end


def saving(save: Save = None) -> None:
    """Options of every command of a group. SIGTERM ends one as Ctrl-C does: what it started ends with it."""
    _save_to.set(save)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def finish(measure: Callable[[], Awaitable[BenchResult]], *, as_json: bool) -> None:
    """Run, print, and exit 1 when a bar falls short."""

    async def run() -> BenchResult:
        return await measure()

    _end(asyncio.run(run()), as_json=as_json)


def _end(result: BenchResult, *, as_json: bool) -> None:
    if (folder := _save_to.get()) is not None:
        keep(result, folder)
    show(result, as_json=as_json)
    raise typer.Exit(0 if result.ok else 1)


def keep(result: BenchResult, folder: Path) -> Path:
    """Write the result as NAME.json into `folder`, beside when and how it was made; the one before it is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "command": f"keepword {shlex.join(sys.argv[1:])}"}
    path = folder / f"{result.name.replace(' ', '-')}.json"
    path.write_text(json.dumps({**result.as_dict(), **made}, ensure_ascii=False), encoding="utf-8")
    return path


def awaited(what: str, run: Callable[..., Awaitable[BenchResult]], *, as_json: bool, **given: object) -> None:
    """Run an evaluation with a progress bar called `what`."""
    from bench.progress import counting

    async def measure() -> BenchResult:
        with counting(what, quiet=as_json) as progress:
            return await run(progress=progress, **given)

    finish(measure, as_json=as_json)


def blocking(what: str, run: Callable[..., BenchResult], *, as_json: bool, **given: object) -> None:
    """The same for one that blocks: in the main thread, which a signal reaches."""
    from bench.progress import counting

    with counting(what, quiet=as_json) as progress:
        result = run(progress=progress, **given)
    _end(result, as_json=as_json)
