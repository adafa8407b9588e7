"""Plots: SVG that takes its colours from the page around it, light or dark, and the same picture as PNG."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.report.read import Judged, Series

INCHES, DPI = (6.4, 3.3), 160
INK, FAINT = "#1c2430", "#d5dae1"
# distinguishable to colour-blind readers (Okabe and Ito 2008), dark enough for white paper
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#4c5a6b", "#56b4e9", "#882255")
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keepword",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
}


def line_plot(series: Series) -> Figure:
    """One line for each name; markers where there are few points; a legend where there is more than one line."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        marker = "o" if len(series.xs) <= 25 else None
        for (name, values), colour in zip(_told(series), COLOURS, strict=False):
            axes.plot(series.xs, values, color=colour, label=name, marker=marker, markersize=3.5)
        axes.set_title(series.title, loc="left", fontsize=11, fontweight="bold")
        axes.set_xlabel(series.x)
        axes.set_ylabel(series.y)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        if len(series.lines) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5)
        return figure


def limit_plot(bars: Mapping[str, Judged]) -> Figure | None:
    """Every judged figure as a share of its limit, where the limit is not zero; None when there is nothing to draw."""
    shares = {name: bar.value / bar.limit for name, bar in bars.items() if bar.limit}
    if not shares:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(INCHES[0], 0.7 + 0.34 * len(shares)), layout="constrained")
        axes = figure.add_subplot()
        names = list(reversed(shares))
        widths = [min(shares[name], 2.0) for name in names]
        colours = [COLOURS[2] if bars[name].ok else COLOURS[1] for name in names]
        axes.barh([name.replace("_", " ") for name in names], widths, color=colours, height=0.55)
        axes.axvline(1.0, color=INK, linewidth=1.2)
        axes.set_xlim(0, 2.05 if max(widths) > 1.15 else 1.2)
        axes.set_title("Measured, as a share of the limit", loc="left", fontsize=11, fontweight="bold")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        return figure


def svg(figure: Figure, label: str) -> str:
    """The figure as inline SVG whose colours are the page's CSS variables; `label` is read to those who cannot see it."""
    out = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*"', r"\1\2", text, count=1)
    text = re.sub(r'<g id="patch_1">.*?</g>', "", text, count=1, flags=re.S)  # the white sheet behind it
    text = text.replace("fill: #ffffff", "fill: none")
    for colour, variable in ((INK, "--ink"), (FAINT, "--line"), *((c, f"--s{n}") for n, c in enumerate(COLOURS))):
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"font: ([^;\"]*?)px [^;\"]*", r"font: \1px var(--font)", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def png(figure: Figure, path: Path) -> None:
    """The figure on white paper."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})


def _told(series: Series) -> list[tuple[str, tuple[float, ...]]]:
    """Lines with something to see first; those beyond the colours, the smallest, are left out."""
    ordered = sorted(series.lines.items(), key=lambda pair: -max(pair[1], default=0.0))
    kept = {name for name, _ in ordered[: len(COLOURS)]}
    return [(name, values) for name, values in series.lines.items() if name in kept]
