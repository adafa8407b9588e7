"""A session's state: a fold over its events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agents.domain.events import (
    ActionTaken,
    Event,
    FactsGathered,
    HandoffRaised,
    OfferClosed,
    OfferMade,
    OperatorReplied,
    Planned,
    ReplySentence,
    SessionStarted,
    TurnDone,
    TurnFailed,
    TurnStarted,
)
from agents.domain.words import ActionRecord, Handoff, Locale, Offer


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the conversation; `who` is "customer", "desk" or "operator"."""

    who: str
    text: str


@dataclass(frozen=True, slots=True)
class SessionState:
    """What the turn loop knows of a session. Immutable: `apply` returns the next state."""

    session_id: str = ""
    pack: str = ""
    customer_id: str = ""
    locale: Locale = "en"
    market: str = ""
    tenant: str = ""
    lines: tuple[Line, ...] = ()
    scenario: str | None = None
    slots: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    open_offer: Offer | None = None
    closed_offer_ids: tuple[str, ...] = ()
    actions: tuple[ActionRecord, ...] = ()
    handoffs: tuple[Handoff, ...] = ()
    open_turn_id: str | None = None
    reply: tuple[str, ...] = ()  # sentences of the open turn


def apply(state: SessionState, event: Event) -> SessionState:
    """The state after `event`."""
    match event:
        case SessionStarted():
            return replace(
                state,
                session_id=event.session_id,
                pack=event.pack,
                customer_id=event.customer_id,
                locale=event.locale,
                market=event.market,
                tenant=event.tenant,
            )
        case TurnStarted():
            lines = (*state.lines, Line("customer", event.text))
            return replace(state, lines=lines, locale=event.locale, open_turn_id=event.turn_id, reply=())
        case Planned(plan=plan):
            return replace(state, scenario=plan.scenario, slots={**state.slots, **plan.slots})
        case FactsGathered():
            return replace(state, facts={**state.facts, **event.facts})
        case OfferMade():
            return replace(state, open_offer=event.offer)
        case OfferClosed():
            return replace(state, open_offer=None, closed_offer_ids=(*state.closed_offer_ids, event.offer_id))
        case ActionTaken():
            others = tuple(record for record in state.actions if record.key != event.record.key)
            return replace(state, actions=(*others, event.record))
        case HandoffRaised():
            return replace(state, handoffs=(*state.handoffs, event.handoff))
        case OperatorReplied():
            return replace(state, lines=(*state.lines, Line("operator", event.text)))
        case ReplySentence():
            return replace(state, reply=(*state.reply, event.text))
        case TurnDone():
            return replace(state, lines=(*state.lines, Line("desk", event.text)), open_turn_id=None, reply=())
        case TurnFailed():
            return replace(state, lines=(*state.lines, Line("desk", event.message)), open_turn_id=None, reply=())
        case _:
            return state


def fold(events: Iterable[Event]) -> SessionState:
    state = SessionState()
    for event in events:
        state = apply(state, event)
    return state
