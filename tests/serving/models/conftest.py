"""What the model tests share: a file's content, its entry, and a silent console."""

import hashlib
from pathlib import Path

import pytest
from rich.console import Console

from serving.models.catalog import Entry, FileSpec, Folder, Source

CONTENT = bytes(range(256)) * 4096


def make_entry(*sources: Source, content: bytes = CONTENT, recipe: str = "int8-w8a8") -> Entry:
    file = FileSpec("tiny.gguf", hashlib.sha256(content).hexdigest(), len(content))
    return Entry("tiny", "generate", "Apache-2.0", "A test model.", recipe, file, sources, {"cpu": {}})


@pytest.fixture
def console() -> Console:
    return Console(quiet=True)


@pytest.fixture
def local(tmp_path: Path) -> Folder:
    """A folder of the user's that holds the right file."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "tiny.gguf").write_bytes(CONTENT)
    return Folder(folder)
