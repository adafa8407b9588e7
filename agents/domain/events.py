"""The session's history: one append-only list of typed events. Everything else is a fold over it.

`type` is the event's public name on the wire. A store gives each event its sequence number, time and hash.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from agents.domain.words import ActionRecord, Handoff, Locale, Offer, Plan, Verdict


@dataclass(frozen=True, slots=True)
class SessionStarted:
    session_id: str
    pack: str
    customer_id: str
    locale: Locale
    context: Mapping[str, Any] = field(default_factory=dict)
    market: str = ""
    tenant: str = ""
    type: Literal["session.started"] = "session.started"


@dataclass(frozen=True, slots=True)
class TurnStarted:
    turn_id: str
    text: str
    locale: Locale
    idempotency_key: str | None = None
    type: Literal["turn.started"] = "turn.started"


@dataclass(frozen=True, slots=True)
class Planned:
    turn_id: str
    plan: Plan
    exemplars: tuple[str, ...]  # texts of the exemplars the planner saw
    clause_ids: tuple[str, ...]  # clauses retrieved
    elapsed_s: float
    type: Literal["plan"] = "plan"


@dataclass(frozen=True, slots=True)
class FactsGathered:
    """`facts` holds what was read this turn; `failed` maps a tool's name to why it gave nothing."""

    turn_id: str
    facts: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]
    elapsed_s: float
    type: Literal["facts"] = "facts"


@dataclass(frozen=True, slots=True)
class Judged:
    """Every verdict of this turn and the ids of the offers that are legal now."""

    turn_id: str
    verdicts: tuple[Verdict, ...]
    offer_ids: tuple[str, ...]
    elapsed_s: float
    type: Literal["verdicts"] = "verdicts"


@dataclass(frozen=True, slots=True)
class OfferMade:
    turn_id: str
    offer: Offer
    type: Literal["offer"] = "offer"


@dataclass(frozen=True, slots=True)
class OfferClosed:
    turn_id: str
    offer_id: str
    how: Literal["accepted", "rejected", "replaced"]
    type: Literal["offer.closed"] = "offer.closed"


@dataclass(frozen=True, slots=True)
class ActionTaken:
    turn_id: str
    record: ActionRecord
    elapsed_s: float
    type: Literal["action"] = "action"


@dataclass(frozen=True, slots=True)
class HandoffRaised:
    turn_id: str
    handoff: Handoff
    type: Literal["handoff"] = "handoff"


@dataclass(frozen=True, slots=True)
class HandoffClaimed:
    """A person has taken it. `operator` is the name of the key they work with."""

    handoff_id: str
    operator: str
    type: Literal["handoff.claimed"] = "handoff.claimed"


@dataclass(frozen=True, slots=True)
class OperatorReplied:
    """What a person says to the customer, as it stands."""

    handoff_id: str
    operator: str
    text: str
    idempotency_key: str | None = None
    type: Literal["operator.reply"] = "operator.reply"


@dataclass(frozen=True, slots=True)
class HandoffClosed:
    """The person is done with it: the promise is kept."""

    handoff_id: str
    operator: str
    type: Literal["handoff.closed"] = "handoff.closed"


@dataclass(frozen=True, slots=True)
class ReplySentence:
    """A verified sentence. `source`: the model's own, or the clause/pack wording that replaced or completed it."""

    turn_id: str
    index: int
    text: str
    source: Literal["model", "pack"]
    type: Literal["reply.sentence"] = "reply.sentence"


@dataclass(frozen=True, slots=True)
class TurnDone:
    """`timings` in seconds by stage (retrieve, plan, tools, policy, decode, ledger, draft, verify; each second in one of them),
    `first_sentence` and `turn` since the turn began; `usage` counts llm_calls, the verifier's objections, tokens by kind."""

    turn_id: str
    text: str
    usage: Mapping[str, int]
    timings: Mapping[str, float]
    clause_ids: tuple[str, ...]
    type: Literal["turn.done"] = "turn.done"


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The turn ended without a reply of its own; `error` is a stable error type, `message` is for the customer."""

    turn_id: str
    error: str
    message: str
    type: Literal["error"] = "error"


@dataclass(frozen=True, slots=True)
class TurnRestarted:
    """The process that answered this turn died: what the turn said since its start is void, and it is answered anew. What was
    done stays done: actions and handoffs of the first attempt stand."""

    turn_id: str
    type: Literal["turn.restarted"] = "turn.restarted"


@dataclass(frozen=True, slots=True)
class Taped:
    """What a turn was told by everything that is not the code itself: clock, model, retrieval, tools, ledger. With it the turn
    can be replayed. Not for the customer's eyes."""

    turn_id: str
    tape: Mapping[str, Any]
    type: Literal["tape"] = "tape"


@dataclass(frozen=True, slots=True)
class PersonalErased:
    """The personal data of everything before this event was removed on request."""

    type: Literal["erased"] = "erased"


Event = (
    SessionStarted
    | TurnStarted
    | Planned
    | FactsGathered
    | Judged
    | OfferMade
    | OfferClosed
    | ActionTaken
    | HandoffRaised
    | HandoffClaimed
    | OperatorReplied
    | HandoffClosed
    | ReplySentence
    | TurnDone
    | TurnFailed
    | TurnRestarted
    | Taped
    | PersonalErased
)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with its place. `seq` counts from 1 in its session; `hash` chains it to the one before."""

    seq: int
    at: datetime
    event: Event
    hash: str
