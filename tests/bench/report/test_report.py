"""The report: what it reads, and that its page needs nothing else."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agents.domain.errors import BadInput
from bench.commands import keep
from bench.load.series import series
from bench.report.page import number
from bench.report.report import write
from bench.result import BenchResult, bar

LINES = series("Turns a second", "seconds", "turns/s", [0, 1, 2], {"ended": [1, 2, 3], "refused": [0, 0, 1]})
GOOD = BenchResult("bench load", {"errors": bar(0, 0), "p99_s": bar(1.25, 2.0), "seen": bar(7, None)}, {"series": [LINES]})
SHORT = BenchResult("eval <caps>", {"share": bar(0.5, 0.9, ">=")}, {"note": "a < b & 说明"})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    keep(GOOD, tmp_path)
    (tmp_path / "caps.json").write_text(json.dumps(SHORT.as_dict()), encoding="utf-8")
    return tmp_path


def test_a_kept_result_has_its_date_and_command(tmp_path: Path) -> None:
    kept = json.loads(keep(GOOD, tmp_path).read_text(encoding="utf-8"))
    assert kept["name"] == "bench load"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", kept["date"])
    assert kept["command"].startswith("keepword ")


def test_the_page_tells_every_bar_and_where_it_came_from(results: Path) -> None:
    page = write(results, results / "report").read_text(encoding="utf-8")
    assert "1 with a bar that falls short" in page
    assert page.count('<span class="badge short">') == 3  # overview, heading, bar
    assert "≤ 2" in page
    assert "≥ 0.9" in page
    assert "keepword eval &lt;caps&gt; --json" in page
    assert "a &lt; b &amp; 说明" in page


def test_the_page_loads_nothing_and_is_well_formed(results: Path) -> None:
    page = write(results, results / "report").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!#)[^"']*""", page.replace("xlink:", "").replace("http://www.w3.org", ""))
    assert "<script" not in page
    assert "@import" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    known = set(ids)
    assert {ref for ref in re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)} <= known
    HTMLParser().feed(page)


def test_plots_take_their_colours_from_the_page(results: Path) -> None:
    page = write(results, results / "report").read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.S))
    assert "var(--s0)" in drawn
    assert "var(--ink)" in drawn
    assert "#ffffff" not in drawn


def test_pictures_and_the_json_behind_them_are_beside_the_page(results: Path) -> None:
    out = write(results, results / "report").parent
    assert {path.name for path in out.glob("*.png")} == {"bench-load-limits.png", "bench-load-1.png", "caps-limits.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))
    assert [each["name"] for each in json.loads((out / "results.json").read_text(encoding="utf-8"))] == [
        "bench load",
        "eval <caps>",
    ]


def test_an_empty_folder_is_an_error_that_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        write(tmp_path, tmp_path / "report")
    assert "--save" in refused.value.hint


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"name": "x", "machine": "y", "bars": {"a": 1}, "detail": {}}'])
def test_a_file_that_is_not_a_result_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "odd.json").write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=r"odd\.json"):
        write(tmp_path, tmp_path / "report")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12345, "12,345"), (12345.678, "12,346"), (0.123456, "0.1235"), (1.5, "1.5")]
)
def test_numbers_are_told_in_four_digits(value: float, text: str) -> None:
    assert number(value) == text
