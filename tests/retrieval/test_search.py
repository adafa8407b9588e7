import pytest

from retrieval.embedding import Embedder
from retrieval.index import ensure_index
from retrieval.passages import Passage
from retrieval.search import Ranking, Searcher, make_query

VOWELS = "aeiou"
SERIES = tuple(f"Qv{first}xt{second}l" for first in VOWELS for second in VOWELS)
ABOUT_PARTS = (
    "Our warehouse keeps spare parts for kettles, teapots, mugs and bowls for seven years after a series ends. A part is sent "
    "within three working days and costs what the price list says on the day of the order. Parts of the series {} and its "
    "colours are kept in the second hall. Please give the name that is printed under the base, and a photo if it is worn."
)
# What words alone do not find (none shared, or the other language), and what meaning alone mixes up (a name among its like).
CASES = (
    ("the crockery turned up in bits", "exemplar", "damaged"),
    ("我的东西什么时候才能寄到", "exemplar", "missing"),
    ("it fell apart", "exemplar", "damaged"),
    ("is there some kind of rebate", "exemplar", "coupon"),
    *((f"a lid for {name.lower()}", "part", name) for name in SERIES),
    *((name.upper(), "part", name) for name in SERIES),
)


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory, messages: tuple[Passage, ...], embedder: Embedder) -> Searcher:
    parts = tuple(Passage(name, ABOUT_PARTS.format(name), "en", "part") for name in SERIES)
    return Searcher(ensure_index(tmp_path_factory.mktemp("index"), (*messages, *parts), embedder))


def hits(searcher: Searcher, embedder: Embedder, ranking: Ranking) -> int:
    found = 0
    for text, kind, expected in CASES:
        results = searcher.search(make_query(text, embedder), limit=1, kind=kind, ranking=ranking)
        found += bool(results) and results[0].passage.id.startswith(expected)
    return found


def test_the_fused_ranking_beats_each_alone(searcher: Searcher, embedder: Embedder) -> None:
    fused = hits(searcher, embedder, "fused")
    assert fused > hits(searcher, embedder, "vector")
    assert fused > hits(searcher, embedder, "lexical")


def test_a_search_stays_in_its_kind_and_locale(searcher: Searcher, embedder: Embedder) -> None:
    found = searcher.search(make_query("杯子碎了", embedder), limit=50, kind="exemplar", locale="en")
    assert {hit.passage.locale for hit in found} == {"en"}
    assert {hit.passage.kind for hit in found} == {"exemplar"}


def test_without_a_locale_the_other_language_is_found_too(searcher: Searcher, embedder: Embedder) -> None:
    found = searcher.search(make_query("杯子碎了", embedder), limit=20, kind="exemplar")
    assert {hit.passage.locale for hit in found} == {"en", "zh"}


def test_scores_fall_and_passages_do_not_repeat(searcher: Searcher, embedder: Embedder) -> None:
    found = searcher.search(make_query("my parcel is late", embedder), limit=20)
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert len({hit.passage.id for hit in found}) == len(found)


def test_a_text_finds_itself_with_a_cosine_of_one(searcher: Searcher, embedder: Embedder) -> None:
    [hit] = searcher.search(make_query("the mug arrived in pieces", embedder), limit=1)
    assert hit.passage.id == "damaged/0"
    assert hit.score == pytest.approx(1, abs=0.05)
    assert hit.cosine == pytest.approx(1, abs=1e-4)


def test_an_empty_text_still_finds_something(searcher: Searcher, embedder: Embedder) -> None:
    assert len(searcher.search(make_query("", embedder), limit=3)) == 3


def test_an_unknown_kind_finds_nothing(searcher: Searcher, embedder: Embedder) -> None:
    assert searcher.search(make_query("anything", embedder), limit=3, kind="recipe") == ()
