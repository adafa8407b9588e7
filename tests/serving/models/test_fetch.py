import re
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from agents.domain.errors import ModelFileError
from serving.models.catalog import FileSpec, Folder, Source
from serving.models.fetch import fetch
from serving.models.sources import Received, SourceFailed
from tests.serving.models.conftest import CONTENT, make_entry


def test_the_first_source_that_has_the_file_is_used(tmp_path: Path, console: Console, local: Folder) -> None:
    found = fetch(make_entry(Folder(tmp_path / "absent"), local), tmp_path / "cache", console)
    assert found.read_bytes() == CONTENT
    assert not list((tmp_path / "cache" / "partial").iterdir())


def test_a_second_call_asks_no_source(tmp_path: Path, console: Console, local: Folder) -> None:
    first = fetch(make_entry(local), tmp_path / "cache", console)
    assert fetch(make_entry(Folder(tmp_path / "absent")), tmp_path / "cache", console) == first


def test_a_file_with_the_wrong_digest_is_removed_and_named(tmp_path: Path, console: Console, local: Folder) -> None:
    (local.path / "tiny.gguf").write_bytes(CONTENT[::-1])
    with pytest.raises(ModelFileError, match=r"folder: sha256 is .* the file was removed") as caught:
        fetch(make_entry(local), tmp_path / "cache", console)
    assert "tiny.gguf" in caught.value.hint
    assert not list((tmp_path / "cache").rglob("tiny.gguf*"))


def test_after_a_wrong_digest_the_next_source_is_tried(tmp_path: Path, console: Console, local: Folder) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "tiny.gguf").write_bytes(CONTENT[::-1])
    assert fetch(make_entry(Folder(wrong), local), tmp_path / "cache", console).read_bytes() == CONTENT


def test_when_all_fail_every_reason_is_given(tmp_path: Path, console: Console) -> None:
    entry = make_entry(Folder(tmp_path / "one"), Folder(tmp_path / "two"))
    with pytest.raises(ModelFileError, match=re.compile("one/tiny.gguf is not there.*two/tiny.gguf is not there", re.DOTALL)):
        fetch(entry, tmp_path / "cache", console)


def test_too_small_a_disk_is_noticed_before_anything_is_brought(tmp_path: Path, console: Console, local: Folder) -> None:
    asked: list[Source] = []

    def ask(source: Source, file: FileSpec, work: Path, received: Received) -> Path:
        asked.append(source)
        raise SourceFailed("never")

    with pytest.raises(ModelFileError, match=r"needs 2\.1 MB of disk and .* has 5 bytes free") as caught:
        fetch(make_entry(local), tmp_path / "cache", console, ask=ask, free=lambda folder: 5)
    assert "Free some space" in caught.value.hint
    assert asked == []


def test_an_interrupted_fetch_leaves_nothing_that_looks_complete(tmp_path: Path, console: Console, local: Folder) -> None:
    def interrupted(source: Source, file: FileSpec, work: Path, received: Received) -> Path:
        (work / "tiny.gguf.folder").write_bytes(CONTENT[:1000])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(make_entry(local), tmp_path / "cache", console, ask=interrupted)
    assert not list((tmp_path / "cache" / "files").rglob("*.gguf"))
    assert fetch(make_entry(local), tmp_path / "cache", console).read_bytes() == CONTENT


def test_a_second_process_waits_and_finds_the_file(tmp_path: Path, local: Folder) -> None:
    entry, cache = make_entry(local), tmp_path / "cache"
    assert entry.file is not None
    (cache / "locks").mkdir(parents=True)
    said, results = threading.Event(), list[Path]()

    class Announcing(Console):
        def print(self, *objects: object, **options: object) -> None:
            if "waiting" in str(objects):
                said.set()

    with FileLock(cache / "locks" / f"{entry.file.sha256}.lock"):
        waiting = threading.Thread(target=lambda: results.append(fetch(entry, cache, Announcing(quiet=True))))
        waiting.start()
        assert said.wait(timeout=10)
        assert results == []
    waiting.join(timeout=10)
    assert [path.read_bytes() for path in results] == [CONTENT]
