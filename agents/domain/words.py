"""The words of the domain as plain values: clauses, verdicts, offers, actions, plans, scenarios.

Pure data, frozen, standard library only. Amounts are integers in minor units (cents, fen): exact in Python and in CEL.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from agents.domain.money import Money

Locale = str  # "en", "zh"
Texts = Mapping[Locale, str]  # one prose text per locale
Facts = Mapping[str, Mapping[str, Any]]  # fact name -> its fields, JSON values only: {"order": {"id": "KW-1042"}}


class Effect(StrEnum):
    PERMIT = "permit"
    FORBID = "forbid"
    REQUIRE = "require"
    CAP = "cap"


class Ruling(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    NEEDS_CONFIRMATION = "needs-confirmation"
    NEEDS_FACT = "needs-fact"


class Act(StrEnum):
    """What the customer just did."""

    ASKS = "asks"  # states a problem, a wish or a question
    SUPPLIES = "supplies"  # gives what was asked for (an order id, a photo, a detail)
    ACCEPTS = "accepts"  # says yes to the open offer
    REJECTS = "rejects"  # says no to the open offer
    COUNTERS = "counters"  # wants other terms than the open offer
    GREETS = "greets"  # hello, thanks, bye


class Risk(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class ActionStatus(StrEnum):
    """A write's life in the ledger."""

    PLANNED = "planned"  # its turn comes when the line before it is settled
    INTENDED = "intended"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    UNDONE = "undone"  # it was done, and taken back
    STUCK = "stuck"  # an undoing that the desk cannot bring about: a person has to look


@dataclass(frozen=True, slots=True)
class Clause:
    """One policy rule. `when` and the values of `limits` are CEL over facts, `param`, `args` and `confirmed`.

    `scenarios` and `actions` are ids; the single entry "*" means every one. `limits` is used by `cap`:
    {"amount_cents": CEL, "count": CEL, "window_days": CEL}. `file` and `line` say where it was written.
    """

    id: str
    scenarios: tuple[str, ...]
    effect: Effect
    actions: tuple[str, ...]
    when: str
    limits: Mapping[str, str]
    cite: Texts
    body: Texts
    file: str = ""
    line: int = 1


@dataclass(frozen=True, slots=True)
class Proposal:
    """A write somebody wants to do: tool name and its exact arguments."""

    action: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The policy's answer for one proposal. `clause_ids` decided it; `missing` names the facts it lacks; `mistaken` the
    arguments that name another thing than the facts speak of."""

    proposal: Proposal
    ruling: Ruling
    clause_ids: tuple[str, ...]
    missing: tuple[str, ...] = ()
    mistaken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One write of an offer. `undone` is what to say once it was done and taken back again."""

    proposal: Proposal
    amount: Money | None
    done: Texts  # what to say once it is carried out
    undone: Texts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offer:
    """One solution the policy permits now, with its exact terms. `id` is derived from session and terms.

    Most are one write. One of several has the others, in the order they are carried out, in `then`: all of them happen, or
    what happened is undone. `text` says the terms of all."""

    id: str
    scenario: str
    rung: int
    proposal: Proposal
    amount: Money | None
    text: Texts  # the offer in words, placeholders filled
    done: Texts  # what to say once its first write is carried out
    clause_ids: tuple[str, ...]
    undone: Texts = field(default_factory=dict)
    then: tuple[Step, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every write, in order."""
        return (Step(self.proposal, self.amount, self.done, self.undone), *self.then)

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        return (self.proposal, *(step.proposal for step in self.then))


def offer_id(session_id: str, proposal: Proposal, *then: Proposal) -> str:
    """The same terms in the same session always give the same id; other terms, of any step, another."""
    terms: list[Any] = [session_id, proposal.action, dict(proposal.args)]
    terms += [[step.action, dict(step.args)] for step in then]
    spelled = json.dumps(terms, sort_keys=True, ensure_ascii=False)
    return "of_" + hashlib.sha256(spelled.encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Slot:
    """Something a scenario needs from the customer. `pattern` (regex) finds its raw forms, `template` normalises:
    "KW-{digits}" with the pattern's named group `digits`. `ask` is the question when it is missing."""

    name: str
    pattern: str
    template: str
    ask: Texts


@dataclass(frozen=True, slots=True)
class Scenario:
    """A kind of problem: what it needs, which reads feed its clauses."""

    id: str
    title: Texts
    description: Texts
    risk: Risk
    slots: tuple[str, ...]
    reads: tuple[str, ...]  # read tools, any order; their own `requires` orders them
    ladder: str | None
    tell: Texts  # what to answer from facts when there is nothing to offer; {fact.field} placeholders
    handoff: bool = False  # a person takes it


@dataclass(frozen=True, slots=True)
class Rung:
    """One offer of a ladder, or one further write of such an offer. `args` maps each argument of `action` to a CEL expression
    over facts and `param`. `then` are the further writes; `final`: what comes after it cannot undo it."""

    action: str
    args: Mapping[str, str]
    text: Texts
    done: Texts
    undone: Texts = field(default_factory=dict)
    final: bool = False
    then: tuple["Rung", ...] = ()

    @property
    def steps(self) -> tuple["Rung", ...]:
        """Every write, in order."""
        return (self, *self.then)


@dataclass(frozen=True, slots=True)
class Ladder:
    id: str
    rungs: tuple[Rung, ...]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A labelled customer message. `scenario` is None for a message that only answers (yes, no, an id)."""

    text: str
    locale: Locale
    scenario: str | None
    act: Act


@dataclass(frozen=True, slots=True)
class Plan:
    """What the planning agent made of a message. `slots` holds only values that occur in the conversation."""

    scenario: str
    also: tuple[str, ...]  # further scenarios named in the same message
    act: Act
    risk: Risk
    slots: Mapping[str, str]
    missing: tuple[str, ...]  # slot names to ask for
    confidence: float  # 0 to 1: that the message belongs to the scenario
    source: Literal["model", "retrieval", "words"]  # who decided: retrieval when the model was no help, plain words of a yes


@dataclass(frozen=True, slots=True)
class Compensation:
    """How a write is undone: by the write `tool`, each of whose arguments is taken from the call that is undone ("args.NAME")
    or from its receipt ("receipt.NAME")."""

    tool: str
    args: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What the code knows of a tool. `requires` names slots ("order_id") or facts ("order") that must be there first;
    `provides` is the fact a read returns; `parameters` is the arguments' JSON Schema. An `idempotent` write called again under
    its key does nothing and gives its first receipt; another is never called twice. `returns` is the JSON Schema of a read's
    fact or a write's receipt, empty when unknown. `undo`: how a write is undone, None where nothing undoes it."""

    name: str
    kind: Literal["read", "write"]
    description: str
    requires: tuple[str, ...]
    provides: str | None
    parameters: Mapping[str, Any]
    timeout_s: float = 5.0
    idempotent: bool = True
    returns: Mapping[str, Any] = field(default_factory=dict)
    undo: Compensation | None = None


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One line of the ledger. `key` is the idempotency key handed to the tool: offer id, so the same yes twice is one act.

    A line of an offer of several writes names the offer and its place in it, `step` from 0; one that undoes a step has the
    key of that step's line in `undoes`."""

    key: str
    session_id: str
    customer_id: str
    proposal: Proposal
    amount_cents: int | None
    status: ActionStatus
    result: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None
    offer_id: str = ""
    step: int = 0
    undoes: str = ""


@dataclass(frozen=True, slots=True)
class Handoff:
    """A tracked promise: `owner` answers by `due_at`."""

    id: str
    session_id: str
    reason: str
    owner: str
    due_at: datetime
