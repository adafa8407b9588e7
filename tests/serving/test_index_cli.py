import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agents.packs.checks import TEXTS
from serving.index_cli import app

PACK = """
name = "corner"
locales = ["en", "zh"]
currency = "EUR"
timezone = "Europe/Berlin"
[handoff]
owner = "care"
due_minutes = 30
"""
SCENARIO = """
[scenario.{id}]
title = {{en = "{id}", zh = "{id}"}}
description = {{en = "{id}", zh = "{id}"}}
risk = "low"
slots = []
reads = []
tell = {{en = "{id}", zh = "{id}"}}
"""
EXEMPLARS = {
    "damaged": ("my mug arrived broken", "the lamp is cracked", "the plates are smashed", "杯子碎了"),
    "missing": ("where is my parcel", "my delivery never came", "the package is lost", "包裹没收到"),
}
CLAUSE = """---
id: {id}.rule
scenario: {id}
effect: permit
action: "*"
when: "true"
cite: Rules, 1
---
## en
What we do about {id} goods.
## zh
关于{id}的规则。
"""
TOOLS = """
async def open_back_office(data_dir):
    return None


async def lookup_receipt(opened, call):
    return None


async def close(opened):
    return None
"""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    root = tmp_path / "corner"
    (root / "policy").mkdir(parents=True)
    (root / "exemplars").mkdir()
    wording = "".join(f'[texts.{key}]\nen = "{key}"\nzh = "{key}"\n' for key in sorted(TEXTS))
    (root / "pack.toml").write_text(PACK + wording, encoding="utf-8")
    (root / "scenarios.toml").write_text(SCENARIO.format(id="damaged") + SCENARIO.format(id="missing"), encoding="utf-8")
    (root / "ladders.toml").write_text("", encoding="utf-8")
    (root / "tools.py").write_text(TOOLS, encoding="utf-8")
    rows = [
        f'[[exemplar]]\ntext = "{text}"\nlocale = "{"en" if text.isascii() else "zh"}"\nscenario = "{id}"\nact = "asks"\n'
        for id, texts in EXEMPLARS.items()
        for text in texts
    ]
    (root / "exemplars" / "all.toml").write_text("".join(rows), encoding="utf-8")
    for id in EXEMPLARS:
        (root / "policy" / f"{id}.md").write_text(CLAUSE.format(id=id), encoding="utf-8")
    return root


def run(*args: str) -> str:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_build_reports_the_index_and_its_cross_validated_heads(pack: Path, tmp_path: Path) -> None:
    report = json.loads(run("build", "--pack", str(pack), "--root", str(tmp_path / "index"), "--json"))
    assert report["passages"] == 12
    assert set(report["heads"]) == {"scenario", "act"}
    assert (tmp_path / "index" / "corner" / report["version"] / "manifest.json").is_file()


def test_build_prints_a_table_for_people(pack: Path, tmp_path: Path) -> None:
    assert "12 passages" in run("build", "--pack", str(pack), "--root", str(tmp_path / "index"))


def test_search_prints_what_was_found(pack: Path, tmp_path: Path) -> None:
    options = ("--pack", str(pack), "--root", str(tmp_path / "index"))
    found = json.loads(run("search", "my cup is broken", *options, "--json"))
    assert found["exemplars"][0]["scenario"] == "damaged"
    assert found["clauses"][0]["clause"] == "damaged.rule"
    assert "my mug arrived broken" in run("search", "my cup is broken", *options)
