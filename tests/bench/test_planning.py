"""The planning evaluation counts what it says it counts."""

import json
import re
import unicodedata
from pathlib import Path

import pytest

from agents.domain.pack import Pack
from agents.domain.words import Act
from agents.packs.loader import load_pack
from agents.ports import ModelRequest
from bench import planning
from bench.result import BenchResult
from serving.scripted import ScriptedModel, TableRetriever


@pytest.fixture(scope="module")
def pack() -> Pack:
    return load_pack("shop")


def write(path: Path, *rows: tuple[str, str, dict[str, str]]) -> Path:
    lines = [
        json.dumps({"text": text, "locale": "en", "scenario": scenario, "slots": slots, "tags": ["plain"]})
        for text, scenario, slots in rows
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


async def measured(pack: Pack, folder: Path, said: str) -> BenchResult:
    write(folder / "planning.en.jsonl", ("broken, KW-1042", "damaged_item", {"order_id": "KW-1042"}), ("hi", "small_talk", {}))
    retriever = TableRetriever(pack, {"broken, KW-1042": ("damaged_item", Act.ASKS)})

    def script(_request: ModelRequest) -> str:
        return said

    return await planning.run(pack, ScriptedModel(script), retriever, folder=folder)


async def test_right_scenarios_and_grounded_ids_pass(pack: Pack, tmp_path: Path) -> None:
    result = await measured(pack, tmp_path, "small_talk greets")
    assert result.bars["scenario_accuracy"].value == 1.0
    assert result.bars["invented_ids_or_amounts"].value == 0
    assert result.detail["ids_missed"] == 0
    assert result.detail["accuracy"]["bare_model"] == 0.5


async def test_every_message_of_every_language_file_is_read(pack: Pack, tmp_path: Path) -> None:
    write(tmp_path / "planning.zh.jsonl", ("你好", "small_talk", {}))
    assert (await measured(pack, tmp_path, "small_talk greets")).detail["messages"] == 3


def pieces(text: str) -> frozenset[str]:
    """Character triples of the words (pairs where they are Chinese), case, digits and punctuation apart."""
    plain = re.sub(r"[\W\d_]+", " ", unicodedata.normalize("NFKC", text).casefold()).strip()
    size = 2 if re.search("[\u3400-\u9fff]", plain) else 3
    padded = plain if size == 2 else f" {plain} "
    return frozenset(padded[at : at + size] for at in range(max(1, len(padded) - size + 1)))


def test_no_evaluation_message_is_an_exemplar_or_nearly_one(pack: Pack) -> None:
    exemplars = [(exemplar.text, pieces(exemplar.text)) for exemplar in pack.exemplars]
    cases = planning.read_cases()
    assert len(cases) >= 300
    assert {case.scenario for case in cases} == set(pack.scenarios)
    alike = [
        (case.text, text)
        for case, own in ((case, pieces(case.text)) for case in cases)
        for text, its in exemplars
        if len(own & its) > 0.5 * len(own | its)
    ]
    assert not alike
