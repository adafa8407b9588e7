from pathlib import Path

import numpy as np
import pytest

from retrieval.embedding import Embedder, make_embedder
from retrieval.embedding_cache import CachedEmbedder


def test_vectors_have_unit_length_and_the_promised_shape(embedder: Embedder) -> None:
    vectors = embedder.embed(["my parcel is late", "包裹晚了"], "query")
    assert vectors.shape == (2, embedder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([], "query").shape == (0, embedder.dimension)


def test_a_translation_is_nearer_than_another_topic(embedder: Embedder) -> None:
    english, chinese, other = embedder.embed(["the cup arrived broken", "杯子收到时碎了", "how do I use a coupon"], "query")
    assert english @ chinese > english @ other


def test_query_and_passage_sides_differ(embedder: Embedder) -> None:
    assert not np.allclose(embedder.embed(["returns"], "query"), embedder.embed(["returns"], "passage"))


def test_a_nul_or_a_broken_surrogate_does_not_hide_the_rest_of_the_text(embedder: Embedder) -> None:
    plain, nul, surrogate = embedder.embed(
        ["refund my broken lamp", "refund\0my broken lamp", "refund my \ud800 lamp"], "query"
    )
    assert plain @ nul > 0.99
    assert np.isfinite(surrogate).all()


def test_an_unknown_embedder_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no-such-model"):
        make_embedder("no-such-model")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"modules\.json"):
        make_embedder(str(tmp_path))


def test_the_cache_gives_the_same_vectors_and_embeds_only_what_is_new(embedder: Embedder, tmp_path: Path) -> None:
    embedded: list[int] = []
    first = CachedEmbedder(embedder, tmp_path)
    once = first.embed(["one", "two"], "query")
    first.save()
    second = CachedEmbedder(embedder, tmp_path, lambda stage, done, total: embedded.append(total))
    again = second.embed(["two", "three", "one"], "query")
    np.testing.assert_array_equal(again[[2, 0]], once)
    assert embedded == [1]


def test_a_damaged_cache_only_means_work(embedder: Embedder, tmp_path: Path) -> None:
    cache = CachedEmbedder(embedder, tmp_path)
    once = cache.embed(["one"], "query")
    cache.save()
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(CachedEmbedder(embedder, tmp_path).embed(["one"], "query"), once)
