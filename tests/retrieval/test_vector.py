from pathlib import Path

import numpy as np
import pytest

from retrieval.embedding import Vectors
from retrieval.vector import VectorIndex, gpu_count, to_gpu


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    rows = np.random.default_rng(1).standard_normal((3000, 64)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_a_stored_vector_finds_itself_first(vectors: Vectors) -> None:
    positions, scores = VectorIndex.build(vectors).search(vectors[7], 3)
    assert positions[0] == 7
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert list(scores) == sorted(scores, reverse=True)


def test_a_search_stays_among_the_positions_it_was_given(vectors: Vectors) -> None:
    positions, _ = VectorIndex.build(vectors).search(vectors[7], 10, among=np.array([1, 2, 900]))
    assert sorted(positions.tolist()) == [1, 2, 900]


def test_a_search_among_nothing_finds_nothing(vectors: Vectors) -> None:
    positions, scores = VectorIndex.build(vectors).search(vectors[7], 10, among=np.zeros(0, dtype=np.int64))
    assert len(positions) == len(scores) == 0


def test_the_graph_finds_nearly_what_the_full_scan_finds(vectors: Vectors) -> None:
    exact, graph = VectorIndex.build(vectors), VectorIndex.build(vectors, exact_limit=100)
    shared = [len({*exact.search(row, 10)[0]} & {*graph.search(row, 10)[0]}) for row in vectors[:50]]
    assert np.mean(shared) >= 9


@pytest.mark.parametrize("exact_limit", [100, 10_000])
def test_a_saved_index_is_mapped_from_its_file_and_answers_the_same(vectors: Vectors, exact_limit: int, tmp_path: Path) -> None:
    path = tmp_path / "vectors.faiss"
    built = VectorIndex.build(vectors, exact_limit=exact_limit)
    built.save(path)
    opened = VectorIndex.open(path)
    assert str(path) in Path("/proc/self/maps").read_text(encoding="utf-8")
    assert opened.search(vectors[3], 5)[0].tolist() == built.search(vectors[3], 5)[0].tolist()


def test_without_a_gpu_an_index_stays_where_it_is(vectors: Vectors) -> None:
    index = VectorIndex.build(vectors)
    assert to_gpu(index, device=gpu_count()) is index


@pytest.mark.parametrize("exact_limit", [100, 10_000])
def test_cosines_are_told_in_the_order_of_the_positions(vectors: Vectors, exact_limit: int) -> None:
    index = VectorIndex.build(vectors, exact_limit=exact_limit)
    expected = [float(vectors[at] @ vectors[7]) for at in (900, 7, 2)]
    assert index.cosines(vectors[7], np.array([900, 7, 2])).tolist() == pytest.approx(expected, abs=1e-6)
    assert len(index.cosines(vectors[7], np.zeros(0, dtype=np.int64))) == 0
