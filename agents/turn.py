"""The turn loop: one customer message from acceptance to the end of the reply, as steps over one event log.

accept (lease, message) -> plan -> gather facts -> decide (policy, negotiation, ledger) -> reply -> done.
Whatever fails on the way, the customer gets a true answer: clause wording or a handoff with a deadline.
"""

import asyncio
import uuid
from dataclasses import dataclass, field

from agents.decision import Decider, new_handoff
from agents.domain.errors import TurnInProgress
from agents.domain.events import (
    Event,
    FactsGathered,
    HandoffRaised,
    Planned,
    ReplySentence,
    Taped,
    TurnDone,
    TurnFailed,
    TurnStarted,
)
from agents.domain.pack import Pack
from agents.domain.render import joined
from agents.domain.session import SessionState, apply, fold
from agents.domain.words import Act, Locale
from agents.ledger.ledger import LOOK_BACK
from agents.planning.planner import Planner
from agents.ports import BackOffice, Clock, ModelResult, Store, ToolCall
from agents.privacy import masked_log
from agents.recovery import ending
from agents.reply.drafter import DraftReport, ReplyAgent
from agents.reply.points import Points
from agents.reply.verifier import Evidence
from agents.tape import Tape, taping
from agents.tools.gather import gather

log = masked_log("keepword.turn")
MIN_DRAFT_S = 1.0  # with less time than this left, the reply is the pack's wording alone


@dataclass(frozen=True, slots=True)
class AcceptedTurn:
    """A turn that will end in a reply. `after_seq` is the last event before it; `replayed`: an earlier request started it."""

    session_id: str
    turn_id: str
    after_seq: int
    replayed: bool = False
    state: SessionState = field(default_factory=SessionState, repr=False)


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Seconds. `turn_s` is the whole turn's deadline; the lease outlives it so that a crashed turn frees the session."""

    turn_s: float = 60.0
    plan_s: float = 20.0
    draft_s: float = 20.0

    @property
    def lease_s(self) -> float:
        return self.turn_s + 15.0


class Recorder:
    """Appends a turn's events and keeps the state folded; marks when each stage ended, in seconds since the turn began."""

    def __init__(self, store: Store, clock: Clock, accepted: AcceptedTurn, tape: Tape) -> None:
        self._store, self._clock, self._tape = store, clock, tape
        self._session_id = accepted.session_id
        self._started = self._lap = clock.monotonic()
        self._seq = accepted.after_seq + 1
        self.turn_id = accepted.turn_id
        self.state = accepted.state
        self.timings: dict[str, float] = {}
        self.results: list[ModelResult] = []
        self.calls = 0
        self.objections = 0

    async def record(self, event: Event) -> None:
        stored = await self._store.append(self._session_id, [event], expected_seq=self._seq)
        self._seq = stored[-1].seq
        self.state = apply(self.state, event)

    async def end(self, event: TurnDone | TurnFailed) -> None:
        """Record the turn's last event, after its tape where one was heard."""
        if self._tape.heard:
            await self.record(Taped(self.turn_id, self._tape.heard))
        await self.record(event)

    def lap(self, stage: str) -> float:
        """Seconds since the last lap, written down under `stage`."""
        now = self._clock.monotonic()
        spent, self._lap = now - self._lap, now
        self.timings[stage] = round(self.timings.get(stage, 0.0) + spent, 4)
        return round(spent, 4)

    def elapsed_s(self) -> float:
        return self._clock.monotonic() - self._started

    def usage(self) -> dict[str, int]:
        return {
            "llm_calls": self.calls,
            "objections": self.objections,
            "prompt_tokens": sum(result.prompt_tokens for result in self.results),
            "cached_tokens": sum(result.cached_tokens for result in self.results),
            "completion_tokens": sum(result.completion_tokens for result in self.results),
        }


class TurnLoop:
    """Runs turns of one pack. All it needs comes in; `serving/wiring.py` builds it."""

    def __init__(
        self,
        pack: Pack,
        *,
        store: Store,
        back_office: BackOffice,
        clock: Clock,
        planner: Planner,
        decider: Decider,
        reply: ReplyAgent,
        limits: TurnLimits | None = None,
    ) -> None:
        self._pack, self._store, self._back_office, self._clock = pack, store, back_office, clock
        self._planner, self._decider, self._reply = planner, decider, reply
        self._limits = limits or TurnLimits()

    async def accept(
        self, session_id: str, text: str, *, locale: Locale | None = None, idempotency_key: str | None = None
    ) -> AcceptedTurn:
        """Take the session's lease and append the message. Raises NotFound, TurnInProgress."""
        stored = await self._store.events(session_id)
        if idempotency_key is not None and (turn_id := await self._store.turn_by_key(session_id, idempotency_key)):
            first = next(s.seq for s in stored if isinstance(s.event, TurnStarted) and s.event.turn_id == turn_id)
            return AcceptedTurn(session_id, turn_id, first - 1, replayed=True)
        turn_id = f"turn_{uuid.uuid4().hex[:16]}"
        if not await self._store.acquire_lease(session_id, turn_id, ttl_s=self._limits.lease_s):
            raise TurnInProgress("this session is answering another message")
        try:
            stored = await self._store.events(session_id)
            state, seq = fold(s.event for s in stored), stored[-1].seq
            if state.open_turn_id is not None:  # its process died: the lease had run out
                lines = await self._store.lines(state.open_offer.id) if state.open_offer is not None else ()
                lost = ending(self._pack, state, lines, self._clock)
                seq = (await self._store.append(session_id, lost, expected_seq=seq))[-1].seq
                state = fold((*(s.event for s in stored), *lost))
            started = TurnStarted(turn_id, text, locale or state.locale, idempotency_key)
            await self._store.append(session_id, [started], expected_seq=seq)
            return AcceptedTurn(session_id, turn_id, seq, state=state)
        except BaseException:
            await self._store.release_lease(session_id, turn_id)
            raise

    async def run(self, accepted: AcceptedTurn) -> None:
        """Answer an accepted turn. Never raises; ends with TurnDone, or with TurnFailed and a handoff."""
        with taping() as tape:
            await self._run(accepted, tape)

    async def _run(self, accepted: AcceptedTurn, tape: Tape) -> None:
        recorder = Recorder(self._store, self._clock, accepted, tape)
        stored = await self._store.events(accepted.session_id, after_seq=accepted.after_seq)
        started = next(s.event for s in stored if isinstance(s.event, TurnStarted))
        before, recorder.state = accepted.state, apply(accepted.state, started)
        try:
            async with asyncio.timeout(self._limits.turn_s):
                await self._answer(recorder, before, started)
        except Exception as error:
            log.exception("turn failed", extra={"session_id": accepted.session_id, "turn_id": accepted.turn_id})
            await self._fail(recorder, error)
        finally:
            await self._store.release_lease(accepted.session_id, accepted.turn_id)

    async def _answer(self, recorder: Recorder, before: SessionState, started: TurnStarted) -> None:
        planned = await self._planner.plan(before, started.text, locale=started.locale, deadline_s=self._limits.plan_s)
        plan = planned.plan
        recorder.calls += plan.source != "words"
        if planned.result is not None:
            recorder.results.append(planned.result)
        exemplars = tuple(scored.exemplar.text for scored in planned.retrieved.exemplars)
        found = (self._pack.clause(scored.clause_id) for scored in planned.retrieved.clauses)
        clauses = tuple(clause.id for clause in found if {plan.scenario, "*"} & set(clause.scenarios))
        await recorder.record(Planned(recorder.turn_id, plan, exemplars, clauses, recorder.lap("plan")))

        call = ToolCall(recorder.state.customer_id, self._clock.now())
        reads = self._pack.scenarios[plan.scenario].reads if plan.act is not Act.GREETS or before.open_offer else ()
        spent = await self._store.actions(recorder.state.customer_id, since=self._clock.now() - LOOK_BACK)
        gathered = await gather(self._back_office, reads, plan.slots, call)
        if reads:
            await recorder.record(FactsGathered(recorder.turn_id, gathered.facts, gathered.failed, recorder.lap("tools")))

        points = Points(self._pack, started.locale)
        said = await self._decider.decide(recorder.turn_id, recorder.state, planned, gathered, spent, points)
        for event in said.events:
            await recorder.record(event)
        recorder.calls += said.calls
        recorder.lap("policy")
        await self._say(recorder, started, tuple(said.points), said.clause_ids)

    async def _say(
        self, recorder: Recorder, started: TurnStarted, points: tuple[str, ...], clause_ids: tuple[str, ...]
    ) -> None:
        report = DraftReport([], 0, [])
        left = min(self._limits.draft_s, self._limits.turn_s - recorder.elapsed_s() - MIN_DRAFT_S)
        evidence = Evidence(started.locale, points, started.text)
        sentences: list[str] = []
        async for said in self._reply.reply(evidence, report, session_id=recorder.state.session_id, deadline_s=left):
            if not sentences:
                recorder.timings["first_sentence"] = round(recorder.elapsed_s(), 4)
            await recorder.record(ReplySentence(recorder.turn_id, len(sentences), said.text, said.source))
            sentences.append(said.text)
        recorder.lap("reply")
        for reason in report.objections:
            log.info("not said: %s", reason, extra={"turn_id": recorder.turn_id})
        recorder.calls += report.calls
        recorder.objections += len(report.objections)
        recorder.results += report.results
        recorder.timings["turn"] = round(recorder.elapsed_s(), 4)
        text = joined(sentences, started.locale)
        await recorder.end(TurnDone(recorder.turn_id, text, recorder.usage(), recorder.timings, clause_ids))

    async def _fail(self, recorder: Recorder, error: Exception) -> None:
        """The last resort: a person takes over, and the customer is told so. If even that cannot be stored, the log has it."""
        points = Points(self._pack, recorder.state.locale)
        handoff = new_handoff(self._pack, recorder.state, self._clock, reason=f"turn failed: {type(error).__name__}")
        kind = getattr(error, "type", "internal")
        try:
            await recorder.record(HandoffRaised(recorder.turn_id, handoff))
            message = joined([points.text("unavailable"), points.handoff(handoff)], recorder.state.locale)
            await recorder.end(TurnFailed(recorder.turn_id, kind, message))
        except Exception:
            log.exception("a failed turn could not be closed", extra={"turn_id": recorder.turn_id})
