import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.embedding import Embedder, Kind, Vectors
from retrieval.index import Head, Index, IndexDamaged, current_index, ensure_index, index_version, open_index
from retrieval.passages import Passage

HEADS = (Head("scenario", "exemplar"),)


class Counting:
    """The real embedder, counting the texts it is given, and able to break off."""

    def __init__(self, inner: Embedder) -> None:
        self.inner = inner
        self.name, self.dimension = inner.name, inner.dimension
        self.texts = 0
        self.broken = False

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        if self.broken:
            raise OSError("the power went")
        self.texts += len(texts)
        return self.inner.embed(texts, kind)


@pytest.fixture(scope="session")
def few(messages: tuple[Passage, ...]) -> tuple[Passage, ...]:
    return messages[::3]


def build(root: Path, passages: Sequence[Passage], embedder: Embedder) -> Index:
    return ensure_index(root, passages, embedder)


def leftovers(root: Path) -> list[str]:
    return [path.name for path in root.iterdir() if path.name.startswith(".")]


def test_a_built_index_opens_with_all_its_passages(tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder) -> None:
    index = build(tmp_path, few, embedder)
    assert index.passages == few
    assert len(index.vectors) == len(few)
    assert open_index(tmp_path / index.version).passages == few
    assert leftovers(tmp_path) == []


def test_the_vectors_are_mapped_from_the_index_folder(tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder) -> None:
    index = build(tmp_path, few, embedder)
    assert str(tmp_path / index.version / "vectors.faiss") in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_an_unchanged_index_is_opened_not_built(tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder) -> None:
    counting = Counting(embedder)
    version = build(tmp_path, few, counting).version
    counting.broken = True
    assert build(tmp_path, few, counting).version == version


def test_another_passage_embedder_or_head_makes_another_version(few: tuple[Passage, ...]) -> None:
    changed = (replace(few[0], text="the mug is fine"), *few[1:])
    relabelled = (replace(few[0], labels={"scenario": "coupon"}), *few[1:])
    versions = {
        index_version(few, "one", ()),
        index_version(changed, "one", ()),
        index_version(relabelled, "one", ()),
        index_version(few, "two", ()),
        index_version(few, "one", HEADS),
    }
    assert len(versions) == 5


def test_a_stale_index_is_rebuilt_embedding_only_what_is_new(
    tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder
) -> None:
    counting = Counting(embedder)
    build(tmp_path, few, counting)
    before = counting.texts
    index = build(tmp_path, (replace(few[0], text="the mug is fine"), *few[1:]), counting)
    assert counting.texts == before + 1
    current = current_index(tmp_path)
    assert current is not None
    assert current.version == index.version


def test_nothing_built_has_no_current_index(tmp_path: Path) -> None:
    assert current_index(tmp_path) is None


@pytest.mark.parametrize("name", ["vectors.faiss", "passages.jsonl", "manifest.json", "lexical/data.csc.index.npy"])
def test_a_cut_file_is_detected_and_mended(name: str, tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder) -> None:
    folder = tmp_path / build(tmp_path, few, embedder).version
    file = folder / name
    half = file.read_bytes()[: file.stat().st_size // 2]
    file.unlink()  # a new file: the old one is mapped
    file.write_bytes(half)
    with pytest.raises(IndexDamaged, match=folder.name):
        open_index(folder)
    assert build(tmp_path, few, embedder).passages == few
    assert leftovers(tmp_path) == []


def test_one_flipped_byte_is_detected(tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder) -> None:
    folder = tmp_path / build(tmp_path, few, embedder).version
    content = bytearray((folder / "vectors.faiss").read_bytes())
    content[-5] ^= 1
    (folder / "vectors.faiss").unlink()
    (folder / "vectors.faiss").write_bytes(content)
    with pytest.raises(IndexDamaged, match=r"vectors\.faiss"):
        open_index(folder)


def test_a_manifest_of_another_format_is_not_opened(tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder) -> None:
    folder = tmp_path / build(tmp_path, few, embedder).version
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 0}), encoding="utf-8")
    with pytest.raises(IndexDamaged, match="format"):
        open_index(folder)


def test_a_build_that_fails_leaves_no_trace_and_the_current_index_untouched(
    tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder
) -> None:
    counting = Counting(embedder)
    version = build(tmp_path, few, counting).version
    counting.broken = True
    with pytest.raises(OSError, match="power"):
        build(tmp_path, (replace(few[0], text="new words"),), counting)
    assert leftovers(tmp_path) == []
    current = current_index(tmp_path)
    assert current is not None
    assert current.version == version


def test_builders_at_the_same_time_all_end_with_the_same_whole_index(
    tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder
) -> None:
    together = threading.Barrier(4)

    def one(_: int) -> Index:
        together.wait()
        return build(tmp_path, few, embedder)

    with ThreadPoolExecutor(4) as pool:
        indexes = list(pool.map(one, range(4)))
    assert len({index.version for index in indexes}) == 1
    assert leftovers(tmp_path) == []
    np.testing.assert_array_equal(indexes[0].vectors.vectors(), indexes[3].vectors.vectors())


def test_old_versions_are_pruned(tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder) -> None:
    for count in range(1, 7):
        build(tmp_path, few[:count], embedder)
    assert len(list(tmp_path.glob("*/manifest.json"))) == 3


def test_repeated_passage_ids_are_refused(tmp_path: Path, few: tuple[Passage, ...], embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="same id"):
        build(tmp_path, (few[0], few[0]), embedder)


def test_the_manifest_says_how_well_a_head_does(tmp_path: Path, messages: tuple[Passage, ...], embedder: Embedder) -> None:
    index = ensure_index(tmp_path, messages, embedder, heads=HEADS)
    measured = index.manifest["heads"]["scenario"]
    assert measured["examples"] == len(messages)
    assert set(measured["accuracy_by_locale"]) == {"en", "zh"}
    assert measured["accuracy"] > 0.7
