"""One ranking from two: cosine of embeddings and BM25, fused by weighted reciprocal ranks (Cormack et al. 2009)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import Embedder, Kind, Vectors
from retrieval.index import Index
from retrieval.normalise import normalise
from retrieval.passages import Passage

RANK_OFFSET = 20
"""The k of reciprocal-rank fusion: how much a first place outweighs a tenth."""
VECTOR_WEIGHT = 0.7
"""The vector ranking's share; the lexical one has the rest. Measured on the demo pack's exemplars, see README."""
CANDIDATES = 100
"""How deep each ranking is read, at least."""

Ranking = Literal["fused", "vector", "lexical"]


@dataclass(frozen=True, slots=True)
class Query:
    """A message made ready once: its normalised text and its vectors as "query" [dimension]."""

    text: str
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hit:
    """`score` orders the hits of one search: 1 is first in every ranking. `cosine` is comparable between searches."""

    passage: Passage
    score: float
    cosine: float


def make_query(text: str, embedder: Embedder, kind: Kind = "query") -> Query:
    clean = normalise(text)
    vectors: Vectors = embedder.embed([clean], kind)
    return Query(clean, vectors[0])


class Searcher:
    """Searches one index. Immutable, any number of threads at once."""

    def __init__(self, index: Index) -> None:
        self.index = index
        groups: dict[tuple[str | None, str | None], list[int]] = {}
        for at, passage in enumerate(index.passages):
            for key in {(passage.kind, passage.locale), (passage.kind, None), (None, passage.locale), (None, None)}:
                groups.setdefault(key, []).append(at)
        self._positions = {key: np.array(members, dtype=np.int64) for key, members in groups.items()}

    def search(
        self, query: Query, *, limit: int, kind: str | None = None, locale: str | None = None, ranking: Ranking = "fused"
    ) -> tuple[Hit, ...]:
        """The best `limit` passages, best first, of one `kind` and one `locale` unless None. Equal scores keep index order."""
        among = self._positions.get((kind, locale))
        if among is None or limit <= 0:
            return ()
        depth = max(CANDIDATES, 2 * limit)
        near, cosines = self.index.vectors.search(query.vector, depth, among=among)
        cosine_of = dict(zip(near.tolist(), cosines.tolist(), strict=True))
        fused: dict[int, float] = {}
        if ranking != "lexical":
            _add_ranks(fused, near.tolist(), 1.0 if ranking == "vector" else VECTOR_WEIGHT)
        if ranking != "vector":
            scores = self.index.lexical.scores(query.text)[among]
            best = np.argsort(-scores, kind="stable")[:depth]
            matched = among[best[scores[best] > 0]].tolist()
            _add_ranks(fused, matched, 1.0 if ranking == "lexical" else 1 - VECTOR_WEIGHT)
        order = sorted(fused, key=lambda at: (-fused[at], at))[:limit]
        missing = [at for at in order if at not in cosine_of]
        if missing:
            found, values = self.index.vectors.search(query.vector, len(missing), among=np.array(missing, dtype=np.int64))
            cosine_of.update(zip(found.tolist(), values.tolist(), strict=True))
        return tuple(Hit(self.index.passages[at], fused[at], cosine_of.get(at, 0.0)) for at in order)


def _add_ranks(fused: dict[int, float], ranked: list[int], weight: float) -> None:
    for rank, at in enumerate(ranked):
        fused[at] = fused.get(at, 0.0) + weight * RANK_OFFSET / (RANK_OFFSET + rank)
