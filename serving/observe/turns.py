"""Metrics of turns, all taken from the events as they are stored: whoever appends them, each is counted once, here."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from agents.domain.events import (
    HandoffRaised,
    OfferClosed,
    OfferMade,
    Planned,
    ReplySentence,
    SessionStarted,
    StoredEvent,
    TurnDone,
    TurnFailed,
    TurnStarted,
)
from serving.observe.book import Book

STAGES = ("queue", "retrieve", "plan", "tools", "policy", "decode", "ledger", "draft", "verify", "first_sentence", "turn")
TOKENS = ("prompt", "cached", "completion")
MAX_OPEN_TURNS = 50_000  # a turn that another process ended is forgotten at last


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """Money for a million tokens of each kind, in whatever currency the operator counts; 0: not counted."""

    prompt: float = 0.0
    cached: float = 0.0
    completion: float = 0.0


@dataclass(slots=True)
class _Open:
    """A turn between its first and its last event."""

    since: datetime
    scenario: str = "none"
    act: str = "none"
    handed_off: bool = False


class TurnMetrics:
    """Is told every stored event. `stage` also takes times that no event carries, such as the wait for admission."""

    def __init__(self, book: Book, prices: TokenPrices) -> None:
        self._prices = prices
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._sessions = book.counter("keepword_sessions", "Sessions opened.")
        self._turns = book.counter(
            "keepword_turns", "Turns ended: done, handoff (a person was promised), failed.", ["outcome", "scenario", "act"]
        )
        self._in_flight = book.gauge("keepword_turns_in_flight", "Turns begun and not ended.")
        self._in_flight.set_function(lambda: len(self._open))
        self._failures = book.counter("keepword_turn_failures", "Turns that failed, by error type.", ["error"])
        stages = book.histogram(
            "keepword_stage_seconds",
            "Time by stage of a turn. Each second is in one stage; first_sentence and turn count from the begin.",
            ["stage"],
        )
        self._stages = {name: stages.labels(name) for name in STAGES}
        self._calls = book.counter("keepword_llm_calls", "Requests of turns to the language model.")
        tokens = book.counter("keepword_tokens", "Tokens of turns. Prompt tokens include the cached ones.", ["kind"])
        self._tokens = {kind: tokens.labels(kind) for kind in TOKENS}
        cost = book.counter("keepword_cost", "Cost of turns at the prices set, in their currency.", ["kind"])
        self._cost = {kind: cost.labels(kind) for kind in TOKENS}
        self._objections = book.counter("keepword_objections", "Drafted sentences the verifier did not let through.")
        self._sentences = book.counter(
            "keepword_sentences", "Sentences said, by whose words: the model's or the pack's.", ["source"]
        )
        self._offers = book.counter("keepword_offers", "Offers made, accepted, rejected, replaced.", ["how"])
        self._handoffs = book.counter("keepword_handoffs", "Sessions given to a person.")

    def stage(self, name: str, seconds: float) -> None:
        """`name` is one of STAGES; others are left out: a stage of somebody else's is no metric of ours."""
        if (child := self._stages.get(name)) is not None:
            child.observe(seconds)

    def told(self, stored: StoredEvent) -> None:
        event = stored.event
        match event:
            case TurnStarted():
                self._begin(event.turn_id, stored.at)
            case Planned():
                if (turn := self._open.get(event.turn_id)) is not None:
                    turn.scenario, turn.act = event.plan.scenario, event.plan.act.value
            case ReplySentence():
                self._sentences.labels(event.source).inc()
            case OfferMade():
                self._offers.labels("made").inc()
            case OfferClosed():
                self._offers.labels(event.how).inc()
            case HandoffRaised():
                self._handoffs.inc()
                if (turn := self._open.get(event.turn_id)) is not None:
                    turn.handed_off = True
            case TurnDone():
                self._done(event)
            case TurnFailed():
                self._failed(event, stored.at)
            case SessionStarted():
                self._sessions.inc()
            case _:
                pass

    def _begin(self, turn_id: str, at: datetime) -> None:
        self._open[turn_id] = _Open(at)
        if len(self._open) > MAX_OPEN_TURNS:
            self._open.popitem(last=False)

    def _done(self, event: TurnDone) -> None:
        turn = self._open.pop(event.turn_id, None)
        scenario, act = (turn.scenario, turn.act) if turn is not None else ("none", "none")
        outcome = "handoff" if turn is not None and turn.handed_off else "done"
        self._turns.labels(outcome, scenario, act).inc()
        for stage, seconds in event.timings.items():
            self.stage(stage, seconds)
        self._spent(event.usage)

    def _failed(self, event: TurnFailed, at: datetime) -> None:
        """Its time counts too: a stack that gives up on what is slow must not look fast for it."""
        turn = self._open.pop(event.turn_id, None)
        scenario, act = (turn.scenario, turn.act) if turn is not None else ("none", "none")
        self._turns.labels("failed", scenario, act).inc()
        self._failures.labels(event.error).inc()
        if turn is not None:
            self.stage("turn", max(0.0, (at - turn.since).total_seconds()))

    def _spent(self, usage: Mapping[str, int]) -> None:
        self._calls.inc(usage.get("llm_calls", 0))
        self._objections.inc(usage.get("objections", 0))
        spent = {kind: usage.get(f"{kind}_tokens", 0) for kind in TOKENS}
        for kind, count in spent.items():
            self._tokens[kind].inc(count)
        computed = {**spent, "prompt": max(0, spent["prompt"] - spent["cached"])}  # a cached token is paid once, as cached
        for kind, count in computed.items():
            self._cost[kind].inc(count * getattr(self._prices, kind) / 1e6)
