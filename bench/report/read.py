"""Results as the commands of `eval` and `bench` print them, read back from a folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agents.domain.errors import BadInput


@dataclass(frozen=True, slots=True)
class Series:
    """Lines over one axis, as a result's detail carries them: {title, x, y, xs, lines: {name: values}}."""

    title: str
    x: str
    y: str
    xs: tuple[float, ...]
    lines: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Judged:
    """One bar of a result. `limit` None: reported only."""

    value: float
    limit: float | None
    ok: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark's or evaluation's result and where it was read."""

    name: str
    machine: str
    date: str
    command: str
    file: Path
    bars: Mapping[str, Judged]
    series: tuple[Series, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return all(bar.ok for bar in self.bars.values())

    @property
    def slug(self) -> str:
        """The result as a file's name: the file it came from."""
        return self.file.stem


def read_all(folder: Path) -> tuple[Result, ...]:
    """Every result in `folder`, by name. Raises BadInput when there is none, or when a JSON file is not a result."""
    found = [read(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        hint = f"Make one: keepword bench --save {folder} load, or keepword bench load --json > {folder}/load.json."
        raise BadInput(f"no results in {folder}", field="results", hint=hint)
    return tuple(sorted(found, key=lambda result: (result.name, result.file.name)))


def read(path: Path) -> Result:
    """One file. Without its own date and command (it came from `--json >`), those are the file's time and the bare command."""
    try:
        raw: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        detail = dict(raw["detail"])
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        return Result(
            name=raw["name"],
            machine=raw["machine"],
            date=raw.get("date", written),
            command=raw.get("command", f"keepword {raw['name']} --json"),
            file=path,
            bars={name: Judged(bar["value"], bar["limit"], bar["ok"]) for name, bar in raw["bars"].items()},
            series=tuple(_series(each) for each in detail.pop("series", ())),
            detail=detail,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "A result has name, machine, bars and detail, as --json prints it."
        raise BadInput(f"{path} is not a result: {error}", field="results", hint=hint) from error


def _series(raw: Mapping[str, Any]) -> Series:
    lines = {name: tuple(values) for name, values in raw["lines"].items()}
    return Series(raw["title"], raw["x"], raw["y"], tuple(raw["xs"]), lines)
