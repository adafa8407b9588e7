"""`keepword pack`: a new pack is sound and runs; what cannot be made says why."""

from pathlib import Path

import pytest

from agents.domain.errors import BadInput
from agents.domain.words import Act
from agents.packs.loader import load_pack
from serving.embedded import EmbeddedDesk
from serving.pack_cli import new
from serving.scripted import ScriptedModel, TableRetriever

LATE, YES = "my order A-1001 is late", "yes please"


async def test_a_new_pack_is_sound_and_keeps_its_word(tmp_path: Path) -> None:
    new(tmp_path / "florist")
    pack = load_pack(tmp_path / "florist", thorough=True)
    assert pack.name == "florist"
    retriever = TableRetriever(pack, {LATE: ("late_order", Act.ASKS)})
    async with EmbeddedDesk.open(pack, model=ScriptedModel([]), data_dir=tmp_path / "data", retriever=retriever) as desk:
        session_id = await desk.start_session("C-1")
        assert "4.90 EUR" in (await desk.say(session_id, LATE)).text
        done = await desk.say(session_id, YES)
        assert [record.status for record in done.actions] == ["done"]
        again = await desk.say(session_id, LATE)
        assert again.open_offer is None
        assert "once" in again.text


@pytest.mark.parametrize("name", ["My Pack", "1st", "ümlaut"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="no name for a pack"):
        new(tmp_path / name)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(BadInput, match="not empty"):
        new(tmp_path / "mine")
    assert (tmp_path / "mine" / "note.txt").read_text(encoding="utf-8") == "keep"
