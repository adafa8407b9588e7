"""A session's state: a fold over its events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agents.domain.events import (
    ActionTaken,
    Event,
    FactsGathered,
    HandoffClaimed,
    HandoffClosed,
    HandoffRaised,
    OfferClosed,
    OfferMade,
    OperatorReplied,
    Planned,
    ReplySentence,
    SessionStarted,
    TurnDone,
    TurnFailed,
    TurnRestarted,
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
    """What the turn loop knows of a session. Immutable: `apply` returns the next state. Of the conversation only what a turn
    looks back at, however long it was: `transcript` has it whole."""

    session_id: str = ""
    pack: str = ""
    customer_id: str = ""
    locale: Locale = "en"
    market: str = ""
    tenant: str = ""
    line_count: int = 0
    customer_said: str = ""  # last, as `desk_said`
    desk_said: str | None = None
    scenario: str | None = None
    slots: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    open_offer: Offer | None = None
    closed_offer_ids: tuple[str, ...] = ()
    actions: tuple[ActionRecord, ...] = ()
    handoffs: tuple[Handoff, ...] = ()
    claimed: tuple[str, ...] = ()  # handoffs a person works on now: they answer, not the desk
    open_turn_id: str | None = None
    reply: tuple[str, ...] = ()  # sentences of the open turn
    turn_began: "SessionState | None" = field(default=None, repr=False)  # the open turn's message, and nothing of its answer


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
            began = replace(
                state,
                line_count=state.line_count + 1,
                customer_said=event.text,
                locale=event.locale,
                open_turn_id=event.turn_id,
                reply=(),
                turn_began=None,
            )
            return replace(began, turn_began=began)
        case TurnRestarted():
            began = state.turn_began or state
            return replace(began, actions=state.actions, handoffs=state.handoffs, claimed=state.claimed, turn_began=began)
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
        case HandoffClaimed():
            return replace(state, claimed=(*state.claimed, event.handoff_id))
        case HandoffClosed():
            return replace(state, claimed=tuple(each for each in state.claimed if each != event.handoff_id))
        case OperatorReplied():
            return replace(state, line_count=state.line_count + 1)
        case ReplySentence():
            return replace(state, reply=(*state.reply, event.text))
        case TurnDone():
            return _ended(state, event.text)
        case TurnFailed():
            return _ended(state, event.message)
        case _:
            return state


def _ended(state: SessionState, reply: str) -> SessionState:
    return replace(state, line_count=state.line_count + 1, desk_said=reply, open_turn_id=None, reply=(), turn_began=None)


def transcript(events: Iterable[Event]) -> tuple[Line, ...]:
    """The conversation, line by line."""
    return tuple(line for event in events if (line := _line(event)) is not None)


def _line(event: Event) -> Line | None:
    match event:
        case TurnStarted():
            return Line("customer", event.text)
        case OperatorReplied():
            return Line("operator", event.text)
        case TurnDone():
            return Line("desk", event.text)
        case TurnFailed():
            return Line("desk", event.message)
        case _:
            return None


def before_turn(events: Sequence[Event], turn_id: str) -> SessionState:
    """What a turn that is answered anew starts from: the session before its message, with the actions and handoffs since."""
    place = next(at for at, event in enumerate(events) if isinstance(event, TurnStarted) and event.turn_id == turn_id)
    now = fold(events)
    return replace(fold(events[:place]), actions=now.actions, handoffs=now.handoffs, claimed=now.claimed)


def fold(events: Iterable[Event]) -> SessionState:
    state = SessionState()
    for event in events:
        state = apply(state, event)
    return state
