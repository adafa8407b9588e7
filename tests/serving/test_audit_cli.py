"""`keepword audit` and `keepword policy diff` over a real database of recorded turns."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.domain.words import Act
from agents.packs.loader import load_pack
from serving.cli import build_app
from serving.embedded import EmbeddedDesk
from serving.scripted import ScriptedModel, TableRetriever

BROKEN, YES = "my mugs came broken, KW-1042", "yes please"
TABLE = {BROKEN: ("damaged_item", Act.ASKS), YES: ("damaged_item", Act.ACCEPTS)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    async def talk() -> None:
        retriever = TableRetriever(load_pack("shop"), TABLE)
        async with EmbeddedDesk.open("shop", model=ScriptedModel([]), data_dir=tmp_path, retriever=retriever) as desk:
            for customer, session_id in (("C-001", "ses_1"), ("C-012", "ses_2")):
                await desk.start_session(customer, session_id=session_id, locale="en")
                await desk.say(session_id, BROKEN)
                await desk.say(session_id, YES)

    asyncio.run(talk())
    monkeypatch.setenv("KEEPWORD_DATA_DIR", str(tmp_path))
    return tmp_path


def keepword(*words: str) -> tuple[int, dict[str, Any]]:
    ran = CliRunner().invoke(build_app(), [*words, "--json"])
    return ran.exit_code, json.loads(ran.stdout)


def change(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / "keepword.db") as database:
        database.execute(statement)


def test_an_untouched_log_is_whole_and_replays(folder: Path) -> None:
    assert keepword("audit", "verify") == (0, {"ok": True, "sessions": 2, "damages": []})
    assert keepword("audit", "replay") == (0, {"ok": True, "turns": 4, "differences": []})


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE events SET body = replace(body, '\"asks\"', '\"accepts\"') WHERE seq = 3", 3),
        ("DELETE FROM events WHERE session_id = 'ses_1' AND seq = 4", 4),
        ("DELETE FROM personal WHERE session_id = 'ses_1' AND seq = 2", 2),
        ("UPDATE personal SET body = '{\"text\":\"no\"}' WHERE session_id = 'ses_1' AND seq = 2", 2),
        ("UPDATE events SET at = '2020-01-01T00:00:00+00:00' WHERE session_id = 'ses_1' AND seq = 5", 5),
        ("DELETE FROM heads WHERE session_id = 'ses_1'", 0),
        ("UPDATE heads SET seq = 3 WHERE session_id = 'ses_1'", 0),
    ],
)
def test_what_was_changed_is_found_at_its_place(folder: Path, statement: str, seq: int) -> None:
    change(folder, statement)
    status, told = keepword("audit", "verify")
    assert status == 1
    assert seq in {each["seq"] for each in told["damages"]}


def test_a_cut_tail_is_found(folder: Path) -> None:
    change(folder, "DELETE FROM events WHERE session_id = 'ses_1' AND seq > 6")
    _, told = keepword("audit", "verify", "ses_1")
    assert (7, True) in {(each["seq"], each["what"].startswith("missing")) for each in told["damages"]}


def test_a_key_of_someone_else_verifies_nothing(folder: Path) -> None:
    status, _ = keepword("audit", "verify", "--key", "00" * 32)
    assert status == 1


def test_an_erased_customer_is_gone_and_the_log_still_whole(folder: Path) -> None:
    app = build_app()
    assert CliRunner().invoke(app, ["audit", "erase", "C-001", "--yes"]).exit_code == 0
    assert keepword("audit", "verify")[0] == 0
    assert keepword("audit", "replay")[1]["turns"] == 2
    _, told = keepword("audit", "show", "ses_1", "--tape")
    assert "KW-1042" not in json.dumps(told)
    assert "C-001" not in json.dumps(told)
    with sqlite3.connect(folder / "keepword.db") as database:
        assert "C-001" not in "".join(database.iterdump())
        assert "KW-1042" not in "\n".join(line for line in database.iterdump() if "ses_1" in line)
        assert database.execute("SELECT count(*) FROM actions WHERE amount_cents = 373").fetchone() == (1,)


def test_nothing_is_erased_without_a_yes(folder: Path) -> None:
    assert CliRunner().invoke(build_app(), ["audit", "erase", "C-001"]).exit_code != 0
    assert "KW-1042" in json.dumps(keepword("audit", "show", "ses_1")[1])


def test_a_changed_policy_lists_its_decisions(folder: Path) -> None:
    assert keepword("policy", "diff")[1]["changes"] == []
    status, told = keepword("policy", "diff", "--param", "damage_window_days=1")
    assert status == 1
    assert {change["now"]["ruling"] for change in told["changes"] if change["now"]} == {"deny"}
