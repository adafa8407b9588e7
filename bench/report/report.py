"""`keepword bench report`: reads a folder of results and writes the page, its pictures and the JSON behind it."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from bench.report.page import Pictures, page
from bench.report.plots import limit_plot, line_plot, png, svg
from bench.report.read import Result, read_all


def write(results: Path, out: Path) -> Path:
    """Write `index.html`, `results.json` and a PNG for each plot into `out`; the page's path. Raises BadInput when `results`
    holds none."""
    found = read_all(results)
    out.mkdir(parents=True, exist_ok=True)
    pictures = {result.slug: _pictures(result, out) for result in found}
    whole = [json.loads(result.file.read_text(encoding="utf-8")) for result in found]
    (out / "results.json").write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    index = out / "index.html"
    index.write_text(page(found, pictures), encoding="utf-8")
    return index


def _pictures(result: Result, out: Path) -> Pictures:
    """Everything a result has to draw, also written as PNG; a series needs two points to be a line."""
    judged = limit_plot(result.bars)
    limits = (
        "" if judged is None else _drawn(judged, out, f"{result.slug}-limits", f"{result.name}: measured against the limits")
    )
    lines = [each for each in result.series if len(each.xs) > 1]
    return Pictures(
        limits,
        tuple(
            _drawn(line_plot(each), out, f"{result.slug}-{number}", f"{result.name}: {each.title}")
            for number, each in enumerate(lines, 1)
        ),
    )


def _drawn(figure: Figure, out: Path, name: str, label: str) -> str:
    png(figure, out / f"{name}.png")
    return _unique(svg(figure, label), f"{name}-")


def _unique(text: str, prefix: str) -> str:
    """Ids of one inline SVG must not be those of another on the page."""
    for before, after in (('id="', f'id="{prefix}'), ('href="#', f'href="#{prefix}'), ("url(#", f"url(#{prefix}")):
        text = text.replace(before, after)
    return text
