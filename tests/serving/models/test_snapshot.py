import hashlib
import json
from pathlib import Path

import pytest
from rich.console import Console

from agents.domain.errors import ModelFileError
from serving.models.catalog import Entry, Folder, Hub
from serving.models.convert import faults
from serving.models.snapshot import fetch_snapshot
from tests.serving.models.conftest import CONTENT
from tests.serving.models.hub import Hub as FakeHub
from tests.serving.models.hub import serve

REVISION = "d" * 40
ENTRY = Entry("big", "generate", "MIT", "A test.", "none", None, (Hub("org/big", REVISION, None),), {"gpu": {}})
CONFIG = b'{"model_type": "tiny"}'


def hub(*, weights: bytes = CONTENT, config: bytes = CONFIG, cut_after: list[int] | None = None) -> FakeHub:
    """A repository with one large file, one small file and one nobody needs."""
    small = hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG, usedforsecurity=False).hexdigest()
    digest = hashlib.sha256(CONTENT).hexdigest()
    siblings = [
        {"rfilename": "model.safetensors", "size": len(CONTENT), "blobId": "0", "lfs": {"sha256": digest}},
        {"rfilename": "config.json", "size": len(CONFIG), "blobId": small},
        {"rfilename": "../../escape.json", "size": 1, "blobId": "0"},
        {"rfilename": "picture.png", "size": 1, "blobId": "0"},
    ]
    base = f"/org/big/resolve/{REVISION}"
    return FakeHub(
        {
            f"/api/models/org/big/revision/{REVISION}": json.dumps({"siblings": siblings}).encode(),
            f"{base}/model.safetensors": weights,
            f"{base}/config.json": config,
        },
        cut_after=cut_after or [],
    )


def test_a_repository_arrives_whole_and_without_what_the_engine_does_not_read(tmp_path: Path, console: Console) -> None:
    with serve(hub()) as fake:
        found = fetch_snapshot(ENTRY, tmp_path, console, endpoint=fake.url)
    assert sorted(path.name for path in found.iterdir()) == ["config.json", "manifest.json", "model.safetensors"]
    assert faults(found) == ()


def test_a_repository_that_is_there_is_not_asked_for_again(tmp_path: Path, console: Console) -> None:
    with serve(hub()) as fake:
        fetch_snapshot(ENTRY, tmp_path, console, endpoint=fake.url)
        asked = len(fake.asked)
        fetch_snapshot(ENTRY, tmp_path, console, endpoint=fake.url)
    assert len(fake.asked) == asked


@pytest.mark.parametrize("wrong", ["weights", "config"])
def test_a_file_with_another_digest_is_refused(tmp_path: Path, console: Console, wrong: str) -> None:
    bad = hub(weights=CONTENT[::-1]) if wrong == "weights" else hub(config=CONFIG[::-1])
    with serve(bad) as fake, pytest.raises(ModelFileError, match="does not have the digest the hub lists"):
        fetch_snapshot(ENTRY, tmp_path, console, endpoint=fake.url)


def test_files_already_fetched_are_not_fetched_again_after_an_interruption(tmp_path: Path, console: Console) -> None:
    with serve(hub(config=b"")) as fake, pytest.raises(ModelFileError, match="0 bytes"):
        fetch_snapshot(ENTRY, tmp_path, console, endpoint=fake.url)
    with serve(hub()) as fake:
        fetch_snapshot(ENTRY, tmp_path, console, endpoint=fake.url)
    assert not any("safetensors" in path for path, _ in fake.asked)


def test_a_list_that_is_not_understood_is_reported(tmp_path: Path, console: Console) -> None:
    strange = FakeHub({f"/api/models/org/big/revision/{REVISION}": b"[]"})
    with serve(strange) as fake, pytest.raises(ModelFileError, match="list of files is not understood"):
        fetch_snapshot(ENTRY, tmp_path, console, endpoint=fake.url)


def test_a_folder_of_the_users_is_used_in_place(tmp_path: Path, console: Console) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "config.json").write_bytes(CONFIG)
    entry = Entry("big", "generate", "MIT", "A test.", "none", None, (Folder(tmp_path),), {"gpu": {}})
    assert fetch_snapshot(entry, tmp_path / "cache", console) == tmp_path / "big"
