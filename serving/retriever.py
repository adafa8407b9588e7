"""`agents.ports.Retriever` over a pack: its exemplars and clauses in one versioned index, swapped while turns run."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.domain.pack import Pack
from agents.domain.words import Act, Exemplar, Locale
from agents.ports import Retrieved, ScoredClause, ScoredExemplar
from retrieval.embedding import Embedder
from retrieval.embedding_cache import Progress
from retrieval.index import Head, Index, ensure_index
from retrieval.passages import Passage, chunk
from retrieval.search import Query, Searcher, Shares, make_query

HEADS = (Head("scenario", "exemplar"), Head("act", "exemplar"))
EXEMPLAR_PULL = 0.1
"""What an exemplar gains, beside its own score (at most 1), when its label is certain. Measured by cross-validation over the
demo pack: of the first eight, 79 % have the message's scenario instead of 57 %, and the scenario is still among them in 96 %;
a stronger pull repeats the classifier's mistakes."""
CLAUSE_PULL = 0.3
"""The same for a clause. Stronger, since clauses are worded nothing like messages."""
EXEMPLAR_DEPTH = 50
REMEMBERED, REMEMBERED_CHARS = 2048, 32


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


@dataclass(frozen=True, slots=True, eq=False)
class _Live:
    """All that one search reads. Never changed, only replaced."""

    pack: Pack
    searcher: Searcher
    exemplar_labels: NDArray[np.int64]
    """[exemplars]: the place of its scenario among the pack's or, when it has none, of its act behind them. Exemplars are the
    first passages."""
    clause_ids: tuple[str, ...]
    clause_of: NDArray[np.int64]
    """[passages]: which clause a passage is of, by its place in `clause_ids`; -1 for others."""
    clause_scenarios: NDArray[np.float64]
    """[clauses, scenarios]: 1 where a clause is for a scenario."""

    @classmethod
    def of(cls, pack: Pack, index: Index) -> "_Live":
        scenarios = {name: place for place, name in enumerate(pack.scenarios)}
        acts = {act: place for place, act in enumerate(Act, len(scenarios))}
        labelled = [acts[each.act] if each.scenario is None else scenarios.get(each.scenario, -1) for each in pack.exemplars]
        ids = tuple(clause.id for clause in pack.clauses)
        places = {clause_id: at for at, clause_id in enumerate(ids)}
        clause_of = np.array([places.get(each.labels.get("clause", ""), -1) for each in index.passages], dtype=np.int64)
        belongs = [[float(scenario in clause.scenarios) for scenario in pack.scenarios] for clause in pack.clauses]
        return cls(
            pack,
            Searcher(index),
            np.array(labelled, dtype=np.int64),
            ids,
            clause_of,
            np.array(belongs).reshape(len(ids), len(pack.scenarios)),
        )


class PackRetriever:
    """Finds exemplars and clauses for a message and says how likely each scenario and act is. Safe from many threads.

    Made by `open`. `retrieve` is CPU-bound and mostly the embedding: call it through `in_search_thread` from async code.
    """

    def __init__(self, live: _Live, root: Path, embedder: Embedder) -> None:
        self._live = live
        self._root = root
        self._embedder = embedder
        self._building = threading.Lock()
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._search)

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
            self._remembered.cache_clear()
            return True

    def retrieve(self, text: str, locale: Locale, *, exemplars: int = 8, clauses: int = 6) -> Retrieved:
        """Exemplars of any locale, since the other language's help too; clauses once each, whichever wording matched.
        `locale` is the port's and changes nothing here: a message shows its language itself. Raises nothing of its own:
        any text, even an empty one, gets an answer. What is said again and again ("yes please") is looked up once."""
        search = self._remembered if _said_by_many(text) else self._search
        return search(self._live, text, exemplars, clauses)  # one read of what is live: the swap cannot come between

    def _search(self, live: _Live, text: str, exemplars: int, clauses: int) -> Retrieved:
        query = make_query(text, self._embedder)
        scenarios = _shares(live, "scenario", tuple(live.pack.scenarios), query)
        acts = _shares(live, "act", tuple(Act), query)
        worded = live.searcher.worded(query) if max(exemplars, clauses) > 0 else None  # shares alone need no search
        return Retrieved(
            exemplars=_exemplars(live, query, worded, scenarios, acts, exemplars),
            clauses=_clauses(live, query, worded, scenarios, clauses),
            scenarios=scenarios,
            acts=acts,
        )


def _said_by_many(text: str) -> bool:
    """Short and without a number: nothing of one customer's own is kept."""
    return len(text) <= REMEMBERED_CHARS and not any(character.isdigit() for character in text)


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
    known = dict(trained.probabilities(query.spelling, query.vector)) if trained else {}
    shares = {str(label): known.get(str(label), 0.0) for label in labels}
    total = sum(shares.values())
    return {label: share / total if total else 1 / len(shares) for label, share in shares.items()}


def _exemplars(
    live: _Live, query: Query, worded: Shares | None, scenarios: Mapping[str, float], acts: Mapping[str, float], limit: int
) -> tuple[ScoredExemplar, ...]:
    """Rank by likeness and by how likely the exemplar's label is: its scenario, or its act when it has none."""
    if limit <= 0:
        return ()
    found = live.searcher.ranked(query, kind="exemplar", limit=max(EXEMPLAR_DEPTH, limit), worded=worded)
    likely = np.array([*(scenarios[name] for name in live.pack.scenarios), *(acts[act] for act in Act), 0.0])
    scores = found.scores + EXEMPLAR_PULL * likely[live.exemplar_labels[found.positions]]
    best = np.argsort(-scores, kind="stable")[:limit]
    chosen = zip(found.positions[best].tolist(), scores[best].tolist(), strict=True)
    return tuple([ScoredExemplar(live.pack.exemplars[at], score) for at, score in chosen])


def _clauses(
    live: _Live, query: Query, worded: Shares | None, scenarios: Mapping[str, float], limit: int
) -> tuple[ScoredClause, ...]:
    """Rank every clause by its best passage and by how likely its scenario is; a clause for "*" gains nothing by it."""
    if limit <= 0:
        return ()
    searcher = live.searcher
    found = searcher.ranked(query, kind="clause", limit=len(searcher.index.passages), worded=worded)
    pulls = live.clause_scenarios @ np.array([scenarios[name] for name in live.pack.scenarios])
    clauses_found = live.clause_of[found.positions]
    best = np.full(len(live.pack.clauses), -np.inf)
    np.maximum.at(best, clauses_found, found.scores + CLAUSE_PULL * pulls[clauses_found])
    ranked = sorted(zip((-best).tolist(), live.clause_ids, strict=True))
    return tuple([ScoredClause(clause_id, -score) for score, clause_id in ranked[:limit] if score < np.inf])
