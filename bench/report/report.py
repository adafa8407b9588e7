"""`keepword bench report`: reads a folder of results and writes the page, its pictures and the JSON behind it."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from bench.report.page import page
from bench.report.plots import limit_plot, line_plot, png, svg
from bench.report.read import Result, read_all


def write(results: Path, out: Path) -> Path:
    """Write `index.html`, `results.json` and a PNG for each plot into `out`; the page's path. Raises BadInput when `results`
    holds none."""
    found = read_all(results)
    out.mkdir(parents=True, exist_ok=True)
    plots: dict[str, list[str]] = {}
    for result in found:
        for number, (label, figure) in enumerate(_figures(result)):
            png(figure, out / f"{result.slug}-{number}.png")
            plots.setdefault(result.slug, []).append(_unique(svg(figure, label), f"{result.slug}-{number}-"))
    whole = [json.loads(result.file.read_text(encoding="utf-8")) for result in found]
    (out / "results.json").write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    index = out / "index.html"
    index.write_text(page(found, plots), encoding="utf-8")
    return index


def _figures(result: Result) -> list[tuple[str, Figure]]:
    """(label, figure) of everything a result has to draw; a series needs two points to be a line."""
    judged = limit_plot(result.bars)
    found = [(f"{result.name}: measured against the limits", judged)] if judged is not None else []
    lines = [(f"{result.name}: {each.title}", line_plot(each)) for each in result.series if len(each.xs) > 1]
    return found + lines


def _unique(text: str, prefix: str) -> str:
    """Ids of one inline SVG must not be those of another on the page."""
    for before, after in (('id="', f'id="{prefix}'), ('href="#', f'href="#{prefix}'), ("url(#", f"url(#{prefix}")):
        text = text.replace(before, after)
    return text
