"""The one shape every evaluation and benchmark prints: {name, machine, bars: {NAME: {value, limit, ok}}, detail}."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table

AUTOGROUP: Final = Path("/proc/sys/kernel/sched_autogroup_enabled")


@dataclass(frozen=True, slots=True)
class Bar:
    """A measured figure against its limit. `limit` None: reported only, always ok."""

    value: float
    limit: float | None
    ok: bool


def bar(value: float, limit: float | None, way: Literal[">=", "<="] = "<=") -> Bar:
    """`value` rounded to 4 decimals, judged before rounding."""
    ok = limit is None or (value >= limit if way == ">=" else value <= limit)
    return Bar(round(value, 4), limit, ok)


@dataclass(frozen=True, slots=True)
class BenchResult:
    name: str
    bars: Mapping[str, Bar]
    detail: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        return all(bar.ok for bar in self.bars.values())

    def as_dict(self) -> dict[str, Any]:
        bars = {name: asdict(bar) for name, bar in self.bars.items()}
        return {"name": self.name, "machine": machine(), "bars": bars, "detail": dict(self.detail)}


def machine() -> str:
    """Processor, cores, memory and system of this machine, in words; autogroup: Linux shares its cores out by session first."""
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    names = [line.split(":", 1)[1].strip() for line in _lines(cpuinfo) if line.startswith("model name")]
    kib = next((int(line.split()[1]) for line in _lines(meminfo) if line.startswith("MemTotal")), 0)
    name = names[0] if names else platform.processor() or platform.machine()
    autogroup = "".join(_lines(AUTOGROUP)).strip() == "1"
    system = f"{platform.system()} {platform.release().partition('-')[0]}{', autogroup' if autogroup else ''}"
    return f"{os.cpu_count()} x {name}, {kib / 2**20:.0f} GiB, no GPU, {system}, Python {platform.python_version()}"


def resident_mib() -> float:
    """Memory this process holds now, MiB (Linux)."""
    row = next(row for row in _lines(Path("/proc/self/status")) if row.startswith("VmRSS"))
    return int(row.split()[1]) / 1024


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def show(result: BenchResult, *, as_json: bool) -> None:
    """Print the result: one JSON object, or a table for people."""
    if as_json:
        print(json.dumps(result.as_dict(), ensure_ascii=False))
        return
    table = Table(title=f"{result.name} ({machine()})", title_justify="left")
    for column in ("bar", "value", "limit", ""):
        table.add_column(column, justify="right" if column in ("value", "limit") else "left")
    for name, measured in result.bars.items():
        limit = "" if measured.limit is None else f"{measured.limit:g}"
        table.add_row(name, f"{measured.value:g}", limit, "ok" if measured.ok else "SHORT")
    console = Console()
    console.print(table)
    told = {name: value for name, value in result.detail.items() if name != "series"}  # what `bench report` draws
    console.print_json(data=told, ensure_ascii=False)


def quantile(values: list[float], q: float) -> float:
    """The q-quantile (0 to 1) by nearest rank; 0 for no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(q * (len(ordered) - 1))))]
