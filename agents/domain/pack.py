"""A loaded pack: everything about one business, as plain values. `agents.packs.loader` reads it from a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.domain.words import Clause, Exemplar, Ladder, Locale, Scenario, Slot, Texts


@dataclass(frozen=True, slots=True)
class Pack:
    """`digest` is the sha256 over every file that shapes behaviour: an index built for another digest is stale. `markets` and
    `tenants` map a name to the parameters that are others there."""

    name: str
    path: Path
    digest: str
    locales: tuple[Locale, ...]
    currency: str
    timezone: str
    parameters: Mapping[str, Any]
    handoff_owner: str
    handoff_due_minutes: int
    texts: Mapping[str, Texts]
    slots: Mapping[str, Slot]
    scenarios: Mapping[str, Scenario]
    ladders: Mapping[str, Ladder]
    clauses: tuple[Clause, ...]
    exemplars: tuple[Exemplar, ...]
    markets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tenants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def parameters_of(self, market: str = "", tenant: str = "") -> Mapping[str, Any]:
        """The parameters that hold for a session: the pack's, then its market's, then its tenant's."""
        return {**self.parameters, **self.markets.get(market, {}), **self.tenants.get(tenant, {})}

    def clause(self, clause_id: str) -> Clause:
        """Raises KeyError for an unknown id."""
        return next(clause for clause in self.clauses if clause.id == clause_id)
