"""`agents.ports.Retriever` over a pack: its exemplars and clauses in one versioned index, swapped while turns run."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.domain.pack import Pack
from agents.domain.words import Act, Clause, Exemplar, Locale
from agents.ports import Retrieved, ScoredClause, ScoredExemplar
from retrieval.embedding import Embedder
from retrieval.embedding_cache import Progress
from retrieval.index import Head, Index, ensure_index
from retrieval.passages import Passage, chunk
from retrieval.search import Query, Searcher, make_query

HEADS = (Head("scenario", "exemplar"), Head("act", "exemplar"))
SCENARIO_PULL = 1.0
"""How much a clause gains from standing under a likely scenario, beside its own score (at most 1)."""


def passages_of(pack: Pack) -> tuple[Passage, ...]:
    """Every exemplar, then every clause in every locale, long ones cut. Ids are positions: unique, stable for a digest."""
    exemplars = [
        Passage(f"exemplar/{at}", each.text, each.locale, "exemplar", _labels(each), embed_as="query")
        for at, each in enumerate(pack.exemplars)
    ]
    clauses = [
        Passage(f"clause/{clause.id}/{locale}/{part}", piece, locale, "clause", {"clause": clause.id})
        for clause in pack.clauses
        for locale, body in clause.body.items()
        for part, piece in enumerate(chunk(body))
    ]
    return (*exemplars, *clauses)


@dataclass(frozen=True, slots=True)
class _Live:
    """All that one search reads. Never changed, only replaced."""

    pack: Pack
    searcher: Searcher
    exemplars: Mapping[str, Exemplar]
    clauses: Mapping[str, Clause]

    @classmethod
    def of(cls, pack: Pack, index: Index) -> "_Live":
        exemplars = {f"exemplar/{at}": each for at, each in enumerate(pack.exemplars)}
        return cls(pack, Searcher(index), exemplars, {clause.id: clause for clause in pack.clauses})


class PackRetriever:
    """Finds exemplars and clauses for a message and says how likely each scenario and act is. Safe from many threads.

    Made by `open`. `retrieve` is CPU-bound and mostly the embedding: call it in a thread from async code.
    """

    def __init__(self, live: _Live, root: Path, embedder: Embedder) -> None:
        self._live = live
        self._root = root
        self._embedder = embedder
        self._building = threading.Lock()

    @classmethod
    def open(cls, pack: Pack, root: Path, embedder: Embedder, progress: Progress | None = None) -> "PackRetriever":
        """Open the pack's index under `root`/<pack name>, building it when missing, stale or damaged (then seconds to a
        minute). Raises OSError when it cannot be written."""
        return cls(_Live.of(pack, _index(pack, root, embedder, progress)), root, embedder)

    @property
    def index(self) -> Index:
        """The index in use now."""
        return self._live.searcher.index

    def refresh(self, pack: Pack, progress: Progress | None = None) -> bool:
        """Serve `pack` from now on; True when it differs from the one served. The new index is built beside (or opened, when
        only tools or parameters changed) while the old one answers; a search that has begun ends on the one it began with."""
        with self._building:
            if pack.digest == self._live.pack.digest:
                return False
            self._live = _Live.of(pack, _index(pack, self._root, self._embedder, progress))
            return True

    def retrieve(self, text: str, locale: Locale, *, exemplars: int = 8, clauses: int = 6) -> Retrieved:
        """Exemplars of any locale, `locale`'s own first where they score the same; clauses once each, whichever
        locale's wording matched. Raises nothing of its own: any text, even an empty one, gets an answer."""
        live = self._live  # one read: the swap cannot come between
        query = make_query(text, self._embedder)
        found = live.searcher.search(query, kind="exemplar", limit=exemplars)
        scenarios = _shares(live, "scenario", tuple(live.pack.scenarios), query)
        return Retrieved(
            exemplars=tuple(ScoredExemplar(live.exemplars[hit.passage.id], hit.score) for hit in found),
            clauses=_clauses(live, query, scenarios, clauses),
            scenarios=scenarios,
            acts=_shares(live, "act", tuple(Act), query),
        )


def _index(pack: Pack, root: Path, embedder: Embedder, progress: Progress | None) -> Index:
    heads = [head for head in HEADS if any(head.name in _labels(each) for each in pack.exemplars)]
    return ensure_index(root / pack.name, passages_of(pack), embedder, heads=heads, progress=progress)


def _labels(exemplar: Exemplar) -> Mapping[str, str]:
    """An exemplar without a scenario (a bare yes, an id) teaches the act alone."""
    act = {"act": exemplar.act.value}
    return act if exemplar.scenario is None else act | {"scenario": exemplar.scenario}


def _shares(live: _Live, head: str, labels: tuple[str, ...], query: Query) -> Mapping[str, float]:
    """Probabilities over exactly `labels`, sum 1; a label without exemplars gets 0, and no exemplars at all: equal shares."""
    trained = live.searcher.index.heads.get(head)
    known = dict(trained.probabilities(query.text, query.vector)) if trained else {}
    shares = {str(label): known.get(str(label), 0.0) for label in labels}
    total = sum(shares.values())
    return {label: share / total if total else 1 / len(shares) for label, share in shares.items()}


def _clauses(live: _Live, query: Query, scenarios: Mapping[str, float], limit: int) -> tuple[ScoredClause, ...]:
    """Rank every clause by its best passage and by how likely its scenario is; a clause for "*" gains nothing by it."""
    best: dict[str, float] = {}
    for hit in live.searcher.search(query, kind="clause", limit=len(live.searcher.index.passages)):
        clause_id = hit.passage.labels["clause"]
        pull = SCENARIO_PULL * sum(scenarios.get(scenario, 0.0) for scenario in live.clauses[clause_id].scenarios)
        best[clause_id] = max(best.get(clause_id, 0.0), hit.score + pull)
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return tuple(ScoredClause(clause_id, score) for clause_id, score in ranked[:limit])
