"""Figures over time, in the form `bench report` draws: {title, x, y, xs, lines: {name: values}}."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from bench.load.figures import Figures, Window, total
from bench.load.measure import Measured
from bench.load.watch import Use

MAX_POINTS = 240
Series = dict[str, Any]


def series(title: str, x: str, y: str, xs: Sequence[float], lines: Mapping[str, Sequence[float]]) -> Series:
    return {"title": title, "x": x, "y": y, "xs": list(xs), "lines": {name: list(values) for name, values in lines.items()}}


def over_time(measured: Measured) -> list[Series]:
    """Turns, latencies, sessions, CPU and memory of one load over its time."""
    step_s = max(measured.plan.window_s, measured.plan.duration_s / MAX_POINTS)
    slots = _slots(measured.windows, step_s)
    xs = [round((slot + 1) * step_s, 2) for slot, _ in slots]
    added = [total(windows) for _, windows in slots]
    timed = [(at, each) for at, each in zip(xs, added, strict=True) if "turn" in each.histograms]  # the warm-up is not
    found = [
        series(
            "Turns a second",
            "seconds",
            "turns/s",
            xs,
            {
                "ended": [_rate(each, "ended", step_s) for each in added],
                "refused": [_rate(each, "refusals", step_s) for each in added],
            },
        ),
        series(
            "Latency from the intended send time",
            "seconds",
            "seconds",
            [at for at, _ in timed],
            {
                "first sentence p50": [each.at("first_sentence", 0.5) for _, each in timed],
                "turn p50": [each.at("turn", 0.5) for _, each in timed],
                "turn p99": [each.at("turn", 0.99) for _, each in timed],
            },
        ),
    ]
    return found + processes_over_time(measured.uses, measured.begin_s)


def processes_over_time(uses: Sequence[Use], begin_s: float) -> list[Series]:
    """CPU and memory by role."""
    if len(uses) < 3:
        return []
    uses = uses[:: max(1, len(uses) // MAX_POINTS)]
    roles = sorted(uses[-1].rss_bytes)
    pairs = [(before, after) for before, after in pairwise(uses) if after.at_s - before.at_s > 0.2]
    share = {
        role: [
            round((after.cpu_s.get(role, 0) - before.cpu_s.get(role, 0)) / (after.at_s - before.at_s), 4)
            for before, after in pairs
        ]
        for role in roles
    }
    memory = {role: [round(use.rss_bytes.get(role, 0) / 2**20, 1) for use in uses] for role in roles}
    return [
        series("CPU by process", "seconds", "cores", [round(after.at_s - begin_s, 2) for _, after in pairs], share),
        series("Memory by process", "seconds", "MiB resident", [round(use.at_s - begin_s, 2) for use in uses], memory),
    ]


def _slots(windows: Sequence[Window], step_s: float) -> list[tuple[int, list[Window]]]:
    slots: dict[int, list[Window]] = {}
    for window in windows:
        slots.setdefault(int(window.begin_s / step_s + 0.5), []).append(window)
    return sorted(slots.items())


def _rate(figures: Figures, what: str, step_s: float) -> float:
    return round(figures.counts[what] / step_s, 3)
