"""What to say and do, once the plan and the facts are there: policy, negotiation and ledger in one place, no model's word.

The result is a list of events to append and the points the reply must say.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from agents.domain.events import ActionTaken, Event, HandoffRaised, Judged, OfferClosed, OfferMade
from agents.domain.pack import Pack
from agents.domain.session import SessionState
from agents.domain.words import Act, ActionRecord, Effect, Facts, Handoff, Offer, Plan, Ruling, Verdict
from agents.ledger.conflicts import disturbed
from agents.ledger.ledger import Ledger
from agents.ledger.steps import Standing, standing, told
from agents.negotiation.offers import Table, choose, lay_table
from agents.planning.consent import qualified
from agents.planning.planner import Planned
from agents.policy.engine import PolicyEngine
from agents.policy.steps import judge_steps
from agents.ports import Clock, Model
from agents.prefix import system_message
from agents.reflection.check import should_clarify
from agents.reply.points import Points
from agents.reply.sentences import split
from agents.stages import stage
from agents.tools.decode import Calls, decode_calls
from agents.tools.gather import REFUSED, Gathered

MIN_YES = 0.6  # probability of "accepts" below which a yes is asked for again before anything happens
Spent = Sequence[ActionRecord]
MOST_FURTHER = 2  # requests of one message beside the main one
ASKED_FOR_PERSON = "the customer asked for a person"
LEGAL_TASK = "The customer said yes to the open offer."


@dataclass
class Decision:
    """Grows while deciding: events in order, points to say, clause ids that bear them, LLM calls it took."""

    events: list[Event] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    clause_ids: tuple[str, ...] = ()
    calls: int = 0


class Decider:
    def __init__(self, pack: Pack, policy: PolicyEngine, ledger: Ledger, clock: Clock, model: Model) -> None:
        self._pack, self._policy, self._ledger = pack, policy, ledger
        self._clock, self._model = clock, model

    async def decide(
        self, turn_id: str, state: SessionState, planned: Planned, gathered: Gathered, spent: Spent, points: Points
    ) -> Decision:
        """Decide one turn. `state` is the session including this turn's message, plan and facts; `spent` are the customer's
        ledger lines, read before the facts were gathered."""
        decision, plan = Decision(), planned.plan
        offer = state.open_offer
        if plan.act is Act.GREETS or plan.scenario == "small_talk":
            decision.points += [points.text("greet")] if offer is None else points.offer(offer)
        elif self._pack.scenarios[plan.scenario].handoff:
            self._hand_off(decision, turn_id, state, points, ASKED_FOR_PERSON)
        elif should_clarify(plan, state) or (offer is None and plan.act in (Act.ACCEPTS, Act.REJECTS, Act.COUNTERS)):
            decision.points.append(points.text("clarify"))
        elif plan.missing:
            decision.points += [points.ask(slot) for slot in plan.missing[:1]]
        elif gathered.failed:
            self._unread(decision, turn_id, state, gathered, points)
        elif offer is not None and plan.act is Act.ACCEPTS and plan.scenario == offer.scenario:
            await self._accepted(decision, turn_id, state, planned, gathered.facts, spent, points)
        else:
            await self._negotiate(decision, turn_id, state, plan, gathered.facts, spent, points)
        for scenario in plan.also[:MOST_FURTHER]:
            self._further(decision, turn_id, state, scenario, gathered, points)
        return decision

    def _further(
        self, decision: Decision, turn_id: str, state: SessionState, scenario: str, gathered: Gathered, points: Points
    ) -> None:
        """What else the message asks for: a person, or an answer that the facts at hand hold, is given; the rest is noted. Of a
        question about what could not be read, that was said already."""
        wanted = self._pack.scenarios[scenario]
        answer = None if wanted.ladder else points.tell(scenario, gathered.facts)
        if wanted.handoff:
            self._hand_off(decision, turn_id, state, points, ASKED_FOR_PERSON)
        elif answer is not None:
            said = {sentence for point in decision.points for sentence in split(point)}
            decision.points[:0] = [sentence for sentence in split(answer) if sentence not in said]
        elif wanted.ladder or not set(wanted.reads) & set(gathered.failed):
            decision.points.append(points.also(scenario))

    def too_busy(self, turn_id: str, state: SessionState, points: Points) -> Decision:
        """The engine has too much to do, and without it nobody knows what is wanted: a person takes it."""
        decision = Decision()
        decision.points.append(points.text("unavailable"))
        self._hand_off(decision, turn_id, state, points, "the desk has too much to do")
        return decision

    async def _negotiate(
        self, decision: Decision, turn_id: str, state: SessionState, plan: Plan, facts: Facts, spent: Spent, points: Points
    ) -> None:
        table = self._table(decision, turn_id, state, plan.scenario, facts, spent)
        offer = choose(state, table.offers, plan.act)
        open_offer = state.open_offer
        if open_offer is not None and (offer is None or offer.id != open_offer.id):
            turned_down = plan.act in (Act.REJECTS, Act.COUNTERS) and open_offer.scenario == plan.scenario
            decision.events.append(OfferClosed(turn_id, open_offer.id, "rejected" if turned_down else "replaced"))
        if offer is not None:
            if open_offer is None or offer.id != open_offer.id:
                decision.events.append(OfferMade(turn_id, offer))
            decision.points += points.offer(offer)
            decision.clause_ids = offer.clause_ids
        elif table.offers:  # everything legal was declined
            decision.points.append(points.text("declined"))
            self._hand_off(decision, turn_id, state, points, "the customer declined every offer the policy permits")
        else:
            self._nothing_to_offer(decision, turn_id, state, plan, table, facts, points)

    def _nothing_to_offer(
        self, decision: Decision, turn_id: str, state: SessionState, plan: Plan, table: Table, facts: Facts, points: Points
    ) -> None:
        told = points.tell(plan.scenario, facts)
        denied = [verdict for verdict in table.verdicts if verdict.ruling is Ruling.DENY]
        if denied:
            decision.clause_ids = denied[0].clause_ids
            decision.points += points.denied(table.verdicts)
        if told is not None:
            decision.points.append(told)
        if not decision.points:  # facts the clauses need are not to be had
            decision.points.append(points.text("unavailable"))
            self._hand_off(decision, turn_id, state, points, "facts are missing")

    async def _accepted(
        self,
        decision: Decision,
        turn_id: str,
        state: SessionState,
        planned: Planned,
        facts: Facts,
        spent: Spent,
        points: Points,
    ) -> None:
        """The customer said yes to the open offer: judge it again on fresh facts, then let the ledger act once."""
        offer = state.open_offer
        assert offer is not None
        if not _consents(planned, state.customer_said):
            decision.points += [points.text("unsure"), *points.offer(offer)]
            return
        verdicts = self._judged(state, offer, facts, spent)
        decision.clause_ids = tuple(dict.fromkeys(clause_id for verdict in verdicts for clause_id in verdict.clause_ids))
        if any(verdict.ruling is not Ruling.ALLOW for verdict in verdicts):
            decision.events += [Judged(turn_id, verdicts, (), 0.0), OfferClosed(turn_id, offer.id, "replaced")]
            decision.points += points.denied(sorted(verdicts, key=self._only_not_permitted))
            return
        decision.events.append(Judged(turn_id, verdicts, (offer.id,), 0.0))
        with stage("decode"):
            calls, spent_calls = await decode_calls(self._model, system_message(self._pack), LEGAL_TASK, (offer.proposals,))
        decision.calls += spent_calls
        await self._execute(decision, turn_id, state, _with(offer, calls), facts, spent, points)

    def _only_not_permitted(self, verdict: Verdict) -> bool:
        """Whether no clause objects, but none permits either: an objection to another step of the same offer tells more."""
        return all(self._pack.clause(clause_id).effect is Effect.PERMIT for clause_id in verdict.clause_ids)

    def _judged(self, state: SessionState, offer: Offer, facts: Facts, spent: Spent) -> tuple[Verdict, ...]:
        """A confirmed offer's verdicts now, one a step."""
        policy, now = self._policy.at(state.market, state.tenant), self._clock.now()
        return judge_steps(policy, offer.proposals, scenario=offer.scenario, facts=facts, confirmed=True, spent=spent, now=now)

    async def _execute(
        self, decision: Decision, turn_id: str, state: SessionState, offer: Offer, facts: Facts, spent: Spent, points: Points
    ) -> None:
        began = self._clock.monotonic()

        def permits(now_spent: Spent) -> bool:  # once more, beside what other sessions intend by now
            if any(disturbed(proposal, spent, now_spent, self._pack.slots) for proposal in offer.proposals):
                return False
            return all(verdict.ruling is Ruling.ALLOW for verdict in self._judged(state, offer, facts, now_spent))

        with stage("ledger"):
            lines = await self._ledger.execute(
                offer, session_id=state.session_id, customer_id=state.customer_id, permits=permits
            )
        elapsed_s = round(self._clock.monotonic() - began, 4)
        decision.events += [ActionTaken(turn_id, line, elapsed_s) for line in lines]
        decision.events.append(OfferClosed(turn_id, offer.id, "accepted"))
        decision.points += points.results(offer, lines, facts)
        if standing(lines) is not Standing.DONE:
            self._hand_off(decision, turn_id, state, points, told(lines))

    def _table(self, decision: Decision, turn_id: str, state: SessionState, scenario: str, facts: Facts, spent: Spent) -> Table:
        now, began = self._clock.now(), self._clock.monotonic()
        policy = self._policy.at(state.market, state.tenant)
        table = lay_table(self._pack, policy, state, scenario, facts, spent, now)
        elapsed = round(self._clock.monotonic() - began, 4)
        if table.verdicts:
            decision.events.append(Judged(turn_id, table.verdicts, tuple(offer.id for offer in table.offers), elapsed))
        return table

    def _unread(self, decision: Decision, turn_id: str, state: SessionState, gathered: Gathered, points: Points) -> None:
        """A read was refused (not this customer's, or no such thing) or a system does not answer."""
        if REFUSED in gathered.failed.values():
            decision.points.append(points.text("not_found"))
            return
        decision.points.append(points.text("unavailable"))
        self._hand_off(decision, turn_id, state, points, "a system does not answer: " + ", ".join(gathered.failed))

    def _hand_off(self, decision: Decision, turn_id: str, state: SessionState, points: Points, reason: str) -> None:
        """Promise a person, or repeat the promise that still stands; once in a turn."""
        raised = (event.handoff for event in decision.events if isinstance(event, HandoffRaised))
        now = self._clock.now()
        standing = next((handoff for handoff in (*state.handoffs, *raised) if handoff.due_at > now), None)
        handoff = standing or new_handoff(self._pack, state, self._clock, reason=reason)
        if standing is None:
            decision.events.append(HandoffRaised(turn_id, handoff))
        if (promise := points.handoff(handoff)) not in decision.points:
            decision.points.append(promise)


def _with(offer: Offer, calls: Calls) -> Offer:
    """The offer with the calls as they were decoded."""
    then = tuple(replace(step, proposal=call) for step, call in zip(offer.then, calls[1:], strict=True))
    return replace(offer, proposal=calls[0], then=then)


def _consents(planned: Planned, text: str) -> bool:
    """Whether the customer's own words say yes. A model may doubt it, but not make it one."""
    if planned.plan.source == "words":
        return True
    sure = min(planned.acts.get(Act.ACCEPTS, 0.0), planned.retrieved.acts.get(Act.ACCEPTS, 0.0))
    return sure >= MIN_YES and not qualified(text)


def new_handoff(pack: Pack, state: SessionState, clock: Clock, *, reason: str) -> Handoff:
    """A promise of a person, due as the pack says."""
    due_at = clock.now() + timedelta(minutes=pack.handoff_due_minutes)
    named = hashlib.sha256(f"{state.session_id} {state.line_count} {len(state.handoffs)} {reason}".encode()).hexdigest()
    return Handoff(f"ho_{named[:16]}", state.session_id, reason, pack.handoff_owner, due_at)
