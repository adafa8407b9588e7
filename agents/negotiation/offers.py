"""The negotiation: which rungs of a ladder are legal now, and which one to offer next.

The policy decides the set; the customer's signals only choose inside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agents.domain.money import Money
from agents.domain.pack import Pack
from agents.domain.render import fill_all, joined
from agents.domain.session import SessionState
from agents.domain.words import (
    Act,
    ActionRecord,
    Facts,
    Locale,
    Offer,
    Proposal,
    Ruling,
    Rung,
    Step,
    Texts,
    Verdict,
    offer_id,
)
from agents.policy.engine import PolicyEngine
from agents.policy.steps import judge_steps

LEGAL = frozenset({Ruling.ALLOW, Ruling.NEEDS_CONFIRMATION})


@dataclass(frozen=True, slots=True)
class Table:
    """What lies on the table: every rung's verdict, and the legal offers in ladder order."""

    verdicts: tuple[Verdict, ...]
    offers: tuple[Offer, ...]


def lay_table(
    pack: Pack,
    policy: PolicyEngine,
    state: SessionState,
    scenario: str,
    facts: Facts,
    spent: Sequence[ActionRecord],
    now: datetime,
) -> Table:
    """Judge every rung of the scenario's ladder over `facts`, a rung of several writes step by step. One whose terms lack a
    fact is judged as needs-fact. An offer is what is legal in every step."""
    ladder = pack.scenarios[scenario].ladder
    verdicts: list[Verdict] = []
    offers: list[Offer] = []
    for index, rung in enumerate(pack.ladders[ladder].rungs if ladder else ()):
        terms = [policy.terms(step, facts=facts) for step in rung.steps]
        proposals = [each for each in terms if isinstance(each, Proposal)]
        if len(proposals) < len(terms):
            missing = sorted({name for each in terms if not isinstance(each, Proposal) for name in each})
            verdicts.append(Verdict(Proposal(rung.action, {}), Ruling.NEEDS_FACT, (), tuple(missing)))
            continue
        found = judge_steps(policy, proposals, scenario=scenario, facts=facts, confirmed=False, spent=spent, now=now)
        verdicts += found
        offer = _offer(pack, state, scenario, index, rung, proposals, facts, found)
        if all(verdict.ruling in LEGAL for verdict in found) and offer is not None:
            offers.append(offer)
    return Table(tuple(verdicts), tuple(offers))


def choose(state: SessionState, offers: Sequence[Offer], act: Act) -> Offer | None:
    """The open offer while it stands, the next higher after a no or a counter, else the first not yet declined."""
    fresh = [offer for offer in offers if offer.id not in state.closed_offer_ids]
    still_open = state.open_offer
    if still_open is None:
        return fresh[0] if fresh else None
    if act in (Act.REJECTS, Act.COUNTERS):
        return next((offer for offer in fresh if offer.rung > still_open.rung), None)
    return next((offer for offer in fresh if offer.id == still_open.id), fresh[0] if fresh else None)


def _offer(
    pack: Pack,
    state: SessionState,
    scenario: str,
    index: int,
    rung: Rung,
    proposals: Sequence[Proposal],
    facts: Facts,
    verdicts: Sequence[Verdict],
) -> Offer | None:
    """None when a step's text names a fact that is not there: what cannot be said cannot be offered."""
    steps, said = [], []
    for written, proposal in zip(rung.steps, proposals, strict=True):
        cents = proposal.args.get("amount_cents")
        amount = Money(cents, pack.currency) if type(cents) is int else None
        values = {**facts, "args": proposal.args, "amount": str(amount) if amount is not None else None}
        text = fill_all(written.text, values, pack.currency)
        if text is None:
            return None
        said.append(text)
        steps.append(Step(proposal, amount, written.done, written.undone))
    return Offer(
        id=offer_id(state.session_id, *proposals),
        scenario=scenario,
        rung=index,
        proposal=steps[0].proposal,
        amount=steps[0].amount,
        text=_whole(said),
        done=steps[0].done,
        clause_ids=tuple(dict.fromkeys(clause_id for verdict in verdicts for clause_id in verdict.clause_ids)),
        undone=steps[0].undone,
        then=tuple(steps[1:]),
    )


def _whole(said: Sequence[Texts]) -> dict[Locale, str]:
    """The terms of every step as one text."""
    return {locale: joined([text[locale] for text in said], locale) for locale in said[0]}
