"""The report's HTML: one file, no script, nothing loaded from anywhere."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from bench.report.read import Judged, Result

CSS_FILE = "report.css"


@dataclass(frozen=True, slots=True)
class Pictures:
    """Inline SVG of one result: its figures against their limits (empty when none has one), and its series."""

    limits: str = ""
    series: tuple[str, ...] = ()


def page(results: Sequence[Result], pictures: Mapping[str, Pictures], title: str = "Keepword, measured") -> str:
    """The whole page. `pictures` are by a result's slug."""
    css = files("bench.report").joinpath(CSS_FILE).read_text(encoding="utf-8")
    short = sum(not result.ok for result in results)
    said = f"{len(results)} results, {'all bars held' if not short else f'{short} with a bar that falls short'}."
    sections = "\n".join(_section(result, pictures.get(result.slug, Pictures())) for result in results)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{css}
</style>
</head>
<body>
<main>
<header>
<h1>{escape(title)}</h1>
<p>{said} Each section names the machine, the day and the command that makes the figures again.</p>
</header>
{_overview(results)}
{sections}
</main>
</body>
</html>
"""


def _overview(results: Sequence[Result]) -> str:
    rows = "\n".join(
        f'<tr><td><a href="#{escape(result.slug)}">{escape(result.name)}</a></td><td>{_badge(result.ok)}</td>'
        f"<td>{_held(result)}</td><td>{escape(result.machine)}</td><td>{escape(_day(result.date))}</td></tr>"
        for result in results
    )
    return f"""<section>
<div class="wide"><table>
<thead><tr><th>result</th><th></th><th>bars</th><th>machine</th><th>date</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
</section>"""


def _section(result: Result, pictures: Pictures) -> str:
    figures = "\n".join(f"<figure>{each}</figure>" for each in pictures.series)
    limits = f"<figure>{pictures.limits}</figure>" if pictures.limits else ""
    detail = escape(json.dumps(result.detail, indent=1, ensure_ascii=False))
    return f"""<section id="{escape(result.slug)}">
<h2>{escape(result.name)} {_badge(result.ok)}</h2>
<p class="made">{escape(result.machine)} · {escape(_day(result.date))}</p>
<pre class="command">{escape(result.command)}</pre>
<div class="measured">
{_bars(result.bars)}
{limits}
</div>
<div class="plots">{figures}</div>
<details><summary>Everything it told</summary><pre>{detail}</pre></details>
</section>"""


def _bars(bars: Mapping[str, Judged]) -> str:
    rows = "\n".join(
        f'<tr><td>{escape(name.replace("_", " "))}</td><td class="number">{number(bar.value)}</td>'
        f'<td class="number">{_limit(bar)}</td><td>{"" if bar.limit is None else _badge(bar.ok)}</td></tr>'
        for name, bar in bars.items()
    )
    return f"""<div class="wide"><table>
<thead><tr><th>bar</th><th class="number">measured</th><th class="number">limit</th><th></th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>"""


def _badge(ok: bool) -> str:
    return f'<span class="badge {"ok" if ok else "short"}">{"ok" if ok else "short"}</span>'


def _held(result: Result) -> str:
    judged = [bar for bar in result.bars.values() if bar.limit is not None]
    return f"{sum(bar.ok for bar in judged)} of {len(judged)}"


def _limit(bar: Judged) -> str:
    """The limit and, where the value gives it away, on which side of it is good."""
    if bar.limit is None:
        return ""
    if bar.value == bar.limit:
        return number(bar.limit)
    return f"{'≤' if (bar.value < bar.limit) == bar.ok else '≥'} {number(bar.limit)}"


def number(value: float) -> str:
    """Four significant digits, thousands set apart."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _day(date: str) -> str:
    """`2026-11-25T14:03:22+00:00` as people read it."""
    day, _, rest = date.partition("T")
    return f"{day} {rest[:5]} UTC" if rest else day
