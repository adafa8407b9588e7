"""Fakes that implement our ports, for tests that must not wait for a model."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from agents.domain.pack import Pack
from agents.domain.words import Act, Exemplar
from agents.ports import Retrieved, ScoredClause, ScoredExemplar


class TableRetriever:
    """A Retriever that looks messages up: text -> (scenario, act). Unknown texts are small talk. Sure of itself unless
    `certainty` says otherwise for a text."""

    def __init__(self, pack: Pack, table: Mapping[str, tuple[str, Act]], certainty: Mapping[str, float] | None = None) -> None:
        self._pack, self._table, self._certainty = pack, table, dict(certainty or {})

    def retrieve(self, text: str, locale: str, *, exemplars: int = 8, clauses: int = 6) -> Retrieved:
        scenario, act = self._table.get(text, ("small_talk", Act.GREETS))
        sure = self._certainty.get(text, 0.97)
        return Retrieved(
            exemplars=(ScoredExemplar(Exemplar("an example", locale, scenario, act), 1.0),),
            clauses=tuple(ScoredClause(clause.id, 1.0) for clause in self._pack.clauses[:clauses]),
            scenarios=_shares(self._pack.scenarios, scenario, 0.97),
            acts=_shares(tuple(Act), act, sure),
        )


def _shares(labels: Mapping[str, object] | tuple[Act, ...], chosen: str, sure: float) -> dict[str, float]:
    rest = (1.0 - sure) / (len(labels) - 1)
    return {str(label): sure if str(label) == chosen else rest for label in labels}


class SetClock:
    """A Clock that stands still until it is moved."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or datetime.now(UTC)
        self._monotonic = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def move(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
