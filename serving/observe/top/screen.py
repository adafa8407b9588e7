"""The screen of `keepword top`: two columns from 80 x 24 on, three where there is room. A dash is what was not observed."""

from collections.abc import Iterable, Mapping
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from serving.observe.top.figures import Engine, Figures, Process, Stage, Tenant

WIDE: Final = 118  # columns from which there is room for a third
ABOVE: Final = 20  # rows that are always there, heads and the prompt's line included
DASH: Final = "–"
SLOW_LAG_S: Final = 0.1
NEARLY_FULL: Final = 0.9


class Screen:
    """Fits itself to whatever it is printed on."""

    def __init__(self, figures: Figures, where: str) -> None:
        self._figures, self._where = figures, where

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        f, wide = self._figures, options.max_width >= WIDE
        rows = options.height or console.height
        yield _title(f, self._where)
        yield _counts(f)
        yield _outcomes(f)
        yield Rule(style="dim")
        few = 8 if wide else 2 if rows < 28 else 4
        below = [_errors(f, few), _tenants(f.tenants, few)]
        left, right = _stages(f.stages), _engines(f.engines, 2 if rows < 30 else 4, f)
        if wide:
            yield _beside(left, right, Group(*below, Text(), _processes(f.processes, 8)))
        else:
            yield _beside(left, right)
            yield Rule(style="dim")
            yield _beside(below[0], below[1])
            yield _processes(f.processes, max(1, rows - ABOVE - few))


def _beside(*columns: RenderableType) -> Table:
    grid = Table.grid(expand=True, padding=(0, 2))
    for _ in columns:
        grid.add_column(ratio=1, vertical="top")
    grid.add_row(*columns)
    return grid


def _title(f: Figures, where: str) -> Table:
    about = " · ".join(value for label in ("model", "pack", "version") if (value := f.about.get(label)))
    replicas = ", ".join(f"{count} {deployment}{'' if count == 1 else 's'}" for deployment, count in f.replicas.items())
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(Text.assemble(("keepword ", "bold"), (where, "cyan"), f"  {about}"), Text(replicas, style="dim"))
    return grid


def _counts(f: Figures) -> Text:
    loud = {"queue": f.queue > 0, "brown-out": f.brown_out > 0}
    pairs = [
        ("turns/s", f"{f.turns_per_s:.2f}"),
        ("in flight", str(f.in_flight)),
        ("queue", str(f.queue)),
        ("brown-out", str(f.brown_out)),
        ("streams", str(f.streams)),
        ("http/s", f"{f.requests_per_s:.1f}"),
    ]
    return _pairs(pairs, loud)


def _outcomes(f: Figures) -> Text:
    rates = [(name, f"{f.outcomes_per_s.get(name, 0.0):.2f}") for name in ("done", "handoff", "failed")]
    broken = f.statuses_per_s.get("5xx", 0.0)
    pairs = [*rates, ("5xx/s", f"{broken:.1f}"), ("open lines", str(f.open_ledger_lines))]
    if f.cost_per_hour:
        pairs.append(("cost/h", f"{f.cost_per_hour:.2f}"))
    loud = {"failed": f.outcomes_per_s.get("failed", 0.0) > 0, "5xx/s": broken > 0, "open lines": f.open_ledger_lines > 0}
    return _pairs(pairs, loud)


def _pairs(pairs: Iterable[tuple[str, str]], loud: Mapping[str, bool]) -> Text:
    text = Text(no_wrap=True)
    for name, value in pairs:
        text.append(f"{name} ", "dim").append(value, "bold yellow" if loud.get(name) else "bold").append("   ")
    return text


def _stages(stages: tuple[Stage, ...]) -> Table:
    table = _table("stage", "/s", "p50", "p99")
    for each in stages:
        whole = "bold" if each.name in ("first_sentence", "turn") else ""
        name = each.name.replace("_", " ")
        table.add_row(name, f"{each.per_s:.1f}", seconds(each.p50_s), seconds(each.p99_s), style=whole or None)
    return table


def _engines(engines: tuple[Engine, ...], limit: int, f: Figures) -> RenderableType:
    if not engines:
        return Text("no engine answers", style="bold yellow")
    shown = [_engine(each, brief=len(engines) > 1) for each in engines[:limit]]
    more = [Text(f"and {len(engines) - limit} more", style="dim")] if len(engines) > limit else []
    turns = _pairs([(f"{kind} tok/s", f"{f.tokens_per_s.get(kind, 0.0):.0f}") for kind in ("prompt", "completion")], {})
    return Group(*shown, *more, turns)


def _engine(each: Engine, *, brief: bool) -> RenderableType:
    full = each.kv_cache_usage >= NEARLY_FULL
    hits = DASH if each.prefix_hit_rate is None else f"{each.prefix_hit_rate:.0%}"
    load = _pairs([("running", str(each.running)), ("waiting", str(each.waiting))], {"waiting": each.waiting > 0})
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        Text("KV cache", "dim"),
        ProgressBar(total=1.0, completed=each.kv_cache_usage, width=8, complete_style="yellow" if full else "green"),
        Text(f"{each.kv_cache_usage:.0%}", "bold yellow" if full else "bold"),
        Text(f"hits {hits}", "dim"),
    )
    speed = _pairs([("prefill/s", f"{each.prefill_tokens_per_s:.0f}"), ("decode/s", f"{each.decode_tokens_per_s:.0f}")], {})
    title = Text.assemble(("engine ", "bold"), (each.replica, "cyan"))
    if brief:
        return Group(title, load, bar, speed)
    times = _table("", "p50", "p99")
    times.add_row("first token", seconds(each.first_token_p50_s), seconds(each.first_token_p99_s))
    times.add_row("inter-token", seconds(each.inter_token_p50_s), seconds(each.inter_token_p99_s))
    preempted = _pairs([("preempted", str(each.preemptions))], {"preempted": each.preemptions > 0})
    return Group(title, load, bar, speed, times, preempted)


def _errors(f: Figures, limit: int) -> RenderableType:
    table = _table("errors", "now", "total")
    for kind, total in list(f.errors_total.items())[:limit]:
        now = f.errors.get(kind, 0)
        table.add_row(kind, str(now), str(total), style="yellow" if now else None)
    return table if f.errors_total else Text("no errors", style="dim")


def _tenants(tenants: tuple[Tenant, ...], limit: int) -> RenderableType:
    if not tenants:
        return Text()
    table = _table("tenant", "admitted/s", "refused/s")
    for each in tenants[:limit]:
        loud = "yellow" if each.refused_per_s else None
        table.add_row(each.name or "none", f"{each.admitted_per_s:.1f}", f"{each.refused_per_s:.1f}", style=loud)
    return table


def _processes(processes: tuple[Process, ...], limit: int) -> RenderableType:
    table = _table("replica", "cores", "memory", "loop lag p99")
    for each in processes[:limit]:
        slow = each.loop_lag_p99_s is not None and each.loop_lag_p99_s > SLOW_LAG_S
        name = f"{each.deployment} {each.replica}"
        memory = f"{each.resident_bytes / 2**20:.0f} MiB"
        table.add_row(name, f"{each.cpu_cores:.2f}", memory, seconds(each.loop_lag_p99_s), style="yellow" if slow else None)
    return Padding(table, 0)


def _table(first: str, *rest: str) -> Table:
    table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True, ratio=1)
    for each in rest:
        table.add_column(each, justify="right", no_wrap=True)
    return table


def seconds(value: float | None) -> str:
    """Three figures at most: 0.4 ms, 12 ms, 1.25 s."""
    if value is None:
        return DASH
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
