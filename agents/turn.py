"""The turn loop: one customer message from acceptance to the end of the reply, as steps over one event log. Longer than a
module should be: the recorder and the loop that writes through it are read together.

accept (lease, message) -> plan -> gather facts -> decide (policy, negotiation, ledger) -> reply -> done.
Whatever fails on the way, the customer gets a true answer: clause wording or a handoff with a deadline.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

from agents.decision import Decider, new_handoff
from agents.domain.brownout import Brownout
from agents.domain.errors import KeepwordError
from agents.domain.events import (
    ActionTaken,
    Event,
    FactsGathered,
    HandoffRaised,
    Planned,
    ReplySentence,
    StoredEvent,
    Taped,
    TurnDone,
    TurnFailed,
    TurnStarted,
)
from agents.domain.pack import Pack
from agents.domain.render import joined
from agents.domain.session import SessionState, apply
from agents.domain.words import Act, ActionRecord, Locale
from agents.known import Known, KnownSessions
from agents.lease import LeaseLost, Leases
from agents.ledger.ledger import LOOK_BACK
from agents.planning.planner import Planner, sure
from agents.ports import NO_TRACER, Allowance, BackOffice, Clock, ModelResult, NoPressure, Pressure, Store, ToolCall, Tracer
from agents.privacy import masked_log
from agents.recovery import ending
from agents.reply.drafter import DraftReport, ReplyAgent
from agents.reply.points import Points
from agents.reply.verifier import Evidence
from agents.stages import Stages, stage, staging
from agents.tape import Tape, taping
from agents.tools.gather import gather

log = masked_log("keepword.turn")
MIN_PLAN_S = 0.2  # whatever the caller's deadline: retrieval plans when the model does not in this time
MIN_DRAFT_S = 1.0  # with less time than this left, the reply is the pack's wording alone
DECIDED_S, SENTENCE_S = 0.5, 0.01
"""How long what was decided, and then a drafted sentence, may wait for what comes next, to be stored and seen with it."""


@dataclass(frozen=True, slots=True)
class AcceptedTurn:
    """A turn that will end in a reply. `after_seq` is the last event before it. `replayed`: an earlier request started it, and
    the rest is not known here: `state` is the session before the message, `started` the message as it is stored, `holder`
    holds the session's lease. `resumed`, when set: its first process died, and it is answered anew after that event.
    `deadline_s`: how long its caller will wait from now on, None when nobody said."""

    session_id: str
    turn_id: str
    after_seq: int
    replayed: bool = False
    state: SessionState = field(default_factory=SessionState, repr=False)
    started: StoredEvent | None = field(default=None, repr=False)
    holder: str = ""
    resumed: StoredEvent | None = field(default=None, repr=False)
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """Seconds. `turn_s` is the whole turn's deadline."""

    turn_s: float = 60.0
    plan_s: float = 20.0
    draft_s: float = 20.0


class Recorder:
    """Appends a turn's events and keeps the state folded; knows what the turn spent.

    What is held is written with the next event that must not wait, or when it has waited long enough: the customer sees nothing
    that is not stored, and a turn takes few transactions."""

    def __init__(
        self, store: Store, clock: Clock, accepted: AcceptedTurn, started: StoredEvent, tape: Tape, stages: Stages
    ) -> None:
        self._store, self._clock, self._tape, self._stages = store, clock, tape, stages
        self._session_id = accepted.session_id
        self._started = clock.monotonic()
        self._last = accepted.resumed or started
        self._holder = accepted.holder
        self._held: list[Event] = []
        self._due: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self.turn_id = accepted.turn_id
        self.state = apply(accepted.state, started.event)
        self.ended, self._sure = False, True
        self.allowance = Allowance()
        self.first_sentence_s: float | None = None
        self.results: list[ModelResult] = []
        self.calls = 0
        self.objections = 0

    @property
    def known(self) -> Known | None:
        """The session as it is stored now; None when a write failed, so that only the log can tell."""
        return Known(self._last.seq, self._last.hash, self.state) if self._sure else None

    def hold(self, event: Event) -> None:
        """Record `event` with the next write."""
        self._held.append(event)
        self.state = apply(self.state, event)

    def write_within(self, seconds: float) -> None:
        """Store what is held no later than that, beside what else the turn does. What goes wrong then the next write raises."""
        loop = asyncio.get_running_loop()
        due_at = loop.time() + seconds
        if self._due is None or due_at < self._due.when():
            self.leave()
            self._due = loop.call_at(due_at, self._write_beside)

    def leave(self) -> None:
        """Nothing more is written by itself."""
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _write_beside(self) -> None:
        self._due, before = None, self._writing
        if before is not None and not before.done():
            self.write_within(SENTENCE_S)
        elif before is None or before.exception() is None:
            self._writing = asyncio.ensure_future(self._write(None))

    async def write(self, *, release: bool = False) -> None:
        """Store what is held; `release`: the turn's lease ends with it. A turn out of time is cut after a write, not in it."""
        self.leave()
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing
        await self._write(self._holder if release else None)

    async def _write(self, release: str | None) -> None:
        held, self._held = self._held, []
        if not held:
            return
        try:
            self._last = await self._append(held, release)
        except KeepwordError:  # what is not stored goes with the next write, but for an end that was none
            kept = [each for each in held if not isinstance(each, Taped | TurnDone | TurnFailed)]
            self._held, self._sure = [*kept, *self._held], False
            raise

    async def _append(self, events: Sequence[Event], release: str | None) -> StoredEvent:
        """The last of them as stored. Cancelled in the middle, it first sees how the write ends."""
        last = self._last
        writing = asyncio.ensure_future(
            self._store.append(self._session_id, events, expected_seq=last.seq, expected_hash=last.hash, release=release)
        )
        try:
            return (await asyncio.shield(writing))[-1]
        except asyncio.CancelledError:
            self._last = (await writing)[-1]
            raise

    async def end(self, event: TurnDone | TurnFailed) -> None:
        """Record the turn's last event, after its tape where one was heard, and give the session back."""
        if self._tape.heard:
            self.hold(Taped(self.turn_id, self._tape.heard))
        self.hold(event)
        await self.write(release=True)
        self.ended = True

    def spent_s(self, *stages: str) -> float:
        return round(sum(self._stages.seconds.get(stage, 0.0) for stage in stages), 4)

    def elapsed_s(self) -> float:
        return self._clock.monotonic() - self._started

    def left_s(self, longest_s: float) -> float:
        """At most `longest_s`, less where the caller leaves before."""
        deadline_s = self.allowance.deadline_s
        return longest_s if deadline_s is None else min(longest_s, deadline_s - self.elapsed_s())

    def timings(self) -> dict[str, float]:
        """Seconds by stage, until the first sentence, and of the whole turn until now."""
        first = {} if self.first_sentence_s is None else {"first_sentence": self.first_sentence_s}
        return {**self._stages.seconds, **first, "turn": round(self.elapsed_s(), 4)}

    def usage(self) -> dict[str, int]:
        level = self.allowance.level
        return ({"brownout": int(level)} if level else {}) | {
            "llm_calls": self.calls,
            "objections": self.objections,
            "prompt_tokens": sum(result.prompt_tokens for result in self.results),
            "cached_tokens": sum(result.cached_tokens for result in self.results),
            "completion_tokens": sum(result.completion_tokens for result in self.results),
        }


class TurnLoop:
    """Runs turns of one pack. All it needs comes in; `serving/wiring.py` builds it. `lasting` is the store for accepted turns:
    it outlasts a database that is away for some seconds, where `store` refuses new turns."""

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
        lasting: Store | None = None,
        pressure: Pressure | None = None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._pack, self._store, self._back_office, self._clock = pack, store, back_office, clock
        self._planner, self._decider, self._reply = planner, decider, reply
        self._limits, self._pressure = limits or TurnLimits(), pressure or NoPressure()
        self._lasting, self._leases = lasting or store, Leases(store)
        self._known, self._tracer = KnownSessions(), tracer

    async def accept(
        self, session_id: str, text: str, *, locale: Locale | None = None, idempotency_key: str | None = None
    ) -> AcceptedTurn:
        """Take the session's lease and append the message, in one transaction. Raises NotFound, TurnInProgress."""
        turn_id, known = f"turn_{uuid.uuid4().hex[:16]}", self._known.take(session_id)
        while True:
            known = known or Known.of(await self._store.events(session_id))
            lost = await self._lost(known.state)
            state = reduce(apply, lost, known.state)
            started = TurnStarted(turn_id, text, locale or state.locale, idempotency_key)
            opening = await self._store.open_turn(
                session_id, (*lost, started), expected_seq=known.seq, expected_hash=known.hash, ttl_s=self._leases.ttl_s
            )
            if opening.repeats is not None:
                return await self._repeated(session_id, opening.repeats)
            if opening.stored:
                first = opening.stored[-1]
                return AcceptedTurn(session_id, turn_id, first.seq - 1, state=state, started=first, holder=turn_id)
            known = known.after(opening.missed)

    async def _lost(self, state: SessionState) -> Sequence[Event]:
        """What ends a turn that is open although nobody holds the session: its process died, and its lease has run out."""
        if state.open_turn_id is None:
            return ()
        lines = await self._store.lines(state.open_offer.id) if state.open_offer is not None else ()
        return ending(self._pack, state, lines, self._clock)

    async def _repeated(self, session_id: str, turn_id: str) -> AcceptedTurn:
        stored = await self._store.events(session_id)
        first = next(s.seq for s in stored if isinstance(s.event, TurnStarted) and s.event.turn_id == turn_id)
        return AcceptedTurn(session_id, turn_id, first - 1, replayed=True)

    async def run(self, accepted: AcceptedTurn) -> None:
        """Answer an accepted turn. Never raises; ends with TurnDone, or with TurnFailed and a handoff. A turn that another
        process took over meanwhile is left to it, and one that cannot even be ended to whoever finds its lease run out."""
        try:
            async with self._leases.keeping(accepted.session_id, accepted.holder):
                with (
                    taping() as tape,
                    self._tracer.span("turn", session_id=accepted.session_id, turn_id=accepted.turn_id),
                    staging(self._clock, self._tracer) as stages,
                ):
                    await self._run(accepted, tape, stages)
        except LeaseLost as error:
            log.warning("turn left: %s", error.message, extra={"turn_id": accepted.turn_id})
        except Exception:
            log.exception("a turn could not be ended", extra={"turn_id": accepted.turn_id})

    async def _run(self, accepted: AcceptedTurn, tape: Tape, stages: Stages) -> None:
        first = accepted.started
        if first is None or not isinstance(first.event, TurnStarted):
            raise TypeError("only a turn that was accepted here can be run")
        recorder = Recorder(self._lasting, self._clock, accepted, first, tape, stages)
        recorder.allowance = self._pressure.allow(accepted.state.tenant, accepted.deadline_s)
        try:
            async with asyncio.timeout(self._limits.turn_s):
                await self._answer(recorder, accepted.state, first.event)
        except Exception as error:
            log.exception("turn failed", extra={"session_id": accepted.session_id, "turn_id": accepted.turn_id})
            await self._fail(recorder, error)
        finally:
            recorder.leave()
            if recorder.ended:  # its last write gave the session back
                self._leases.let_go(accepted.session_id, accepted.holder)
                if (known := recorder.known) is not None:
                    self._known.keep(accepted.session_id, known, self._clock.monotonic())

    async def _answer(self, recorder: Recorder, before: SessionState, started: TurnStarted) -> None:
        points = Points(self._pack, started.locale)
        if recorder.state.claimed:
            await self._pass_on(recorder, points)
            return
        level, plan_s = recorder.allowance.level, max(recorder.left_s(self._limits.plan_s), MIN_PLAN_S)
        with stage("plan"):
            planned = await self._planner.plan(before, started.text, locale=started.locale, deadline_s=plan_s, level=level)
        plan = planned.plan
        recorder.calls += planned.calls
        if planned.result is not None:
            recorder.results.append(planned.result)
        exemplars = tuple(scored.exemplar.text for scored in planned.retrieved.exemplars)
        found = (self._pack.clause(scored.clause_id) for scored in planned.retrieved.clauses)
        clauses = tuple(clause.id for clause in found if {plan.scenario, "*"} & set(clause.scenarios))
        recorder.hold(Planned(recorder.turn_id, plan, exemplars, clauses, recorder.spent_s("retrieve", "plan")))

        call = ToolCall(recorder.state.customer_id, self._clock.now())
        scenario, spent = self._pack.scenarios[plan.scenario], tuple[ActionRecord, ...]()
        reads = scenario.reads if plan.act is not Act.GREETS or before.open_offer else ()
        if scenario.ladder and not plan.missing:  # there may be something to offer or to do
            spent = await self._lasting.actions(recorder.state.customer_id, since=self._clock.now() - LOOK_BACK)
        with stage("tools"):
            gathered = await gather(self._back_office, reads, plan.slots, call)
        if reads:
            recorder.hold(FactsGathered(recorder.turn_id, gathered.facts, gathered.failed, recorder.spent_s("tools")))

        busy = level is Brownout.HANDOFF and plan.source != "words" and not sure(planned.retrieved)
        with stage("policy"):
            if busy:
                said = self._decider.too_busy(recorder.turn_id, recorder.state, points)
            else:
                said = await self._decider.decide(recorder.turn_id, recorder.state, planned, gathered, spent, points)
        for event in said.events:
            recorder.hold(event)
        if any(isinstance(event, ActionTaken) for event in said.events):
            await recorder.write()
        else:
            recorder.write_within(DECIDED_S)
        recorder.calls += said.calls
        await self._say(recorder, started, tuple(said.points), said.clause_ids)

    async def _say(
        self, recorder: Recorder, started: TurnStarted, points: tuple[str, ...], clause_ids: tuple[str, ...]
    ) -> None:
        report = DraftReport([], 0, [])
        left = min(recorder.left_s(self._limits.draft_s), self._limits.turn_s - recorder.elapsed_s() - MIN_DRAFT_S)
        state, level = recorder.state, recorder.allowance.level
        evidence = Evidence(started.locale, points, started.text)
        sentences: list[str] = []
        async for said in self._reply.reply(
            evidence, report, session_id=state.session_id, deadline_s=left, level=level, calls=recorder.calls
        ):
            if not sentences:
                recorder.first_sentence_s = round(recorder.elapsed_s(), 4)
            recorder.hold(ReplySentence(recorder.turn_id, len(sentences), said.text, said.source))
            sentences.append(said.text)
            if said.source == "model":  # the pack's own sentences come all at once, with the end
                recorder.write_within(SENTENCE_S)
        for reason in report.objections:
            log.info("not said: %s", reason, extra={"turn_id": recorder.turn_id})
        recorder.calls += report.calls
        recorder.objections += len(report.objections)
        recorder.results += report.results
        text = joined(sentences, started.locale)
        await recorder.end(TurnDone(recorder.turn_id, text, recorder.usage(), recorder.timings(), clause_ids))

    async def _pass_on(self, recorder: Recorder, points: Points) -> None:
        """A person answers in this session now: the message is theirs, and the desk says so and does nothing."""
        text = points.text("with_person")
        recorder.hold(ReplySentence(recorder.turn_id, 0, text, "pack"))
        await recorder.end(TurnDone(recorder.turn_id, text, recorder.usage(), recorder.timings(), ()))

    async def _fail(self, recorder: Recorder, error: Exception) -> None:
        """The last resort: a person takes over, and the customer is told so. Raises when even that cannot be stored."""
        points = Points(self._pack, recorder.state.locale)
        handoff = new_handoff(self._pack, recorder.state, self._clock, reason=f"turn failed: {type(error).__name__}")
        kind = getattr(error, "type", "internal")
        recorder.hold(HandoffRaised(recorder.turn_id, handoff))
        message = joined([points.text("unavailable"), points.handoff(handoff)], recorder.state.locale)
        await recorder.end(TurnFailed(recorder.turn_id, kind, message))
