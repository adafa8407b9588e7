"""The negotiation: which rungs of a ladder are legal now, and which one to offer next.

The policy decides the set; the customer's signals only choose inside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agents.domain.pack import Pack
from agents.domain.render import fill_all
from agents.domain.session import SessionState
from agents.domain.words import Act, ActionRecord, Facts, Money, Offer, Proposal, Ruling, Rung, Verdict, offer_id
from agents.policy.engine import PolicyEngine

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
    """Judge every rung of the scenario's ladder over `facts`. A rung whose terms lack a fact is judged as needs-fact."""
    ladder = pack.scenarios[scenario].ladder
    verdicts: list[Verdict] = []
    offers: list[Offer] = []
    for index, rung in enumerate(pack.ladders[ladder].rungs if ladder else ()):
        terms = policy.terms(rung, facts=facts)
        if not isinstance(terms, Proposal):
            verdicts.append(Verdict(Proposal(rung.action, {}), Ruling.NEEDS_FACT, (), tuple(terms)))
            continue
        verdict = policy.judge(terms, scenario=scenario, facts=facts, confirmed=False, spent=spent, now=now)
        verdicts.append(verdict)
        offer = _offer(pack, state, scenario, index, rung, terms, facts, verdict)
        if verdict.ruling in LEGAL and offer is not None:
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
    pack: Pack, state: SessionState, scenario: str, index: int, rung: Rung, terms: Proposal, facts: Facts, verdict: Verdict
) -> Offer | None:
    """None when the rung's text names a fact that is not there: what cannot be said cannot be offered."""
    cents = terms.args.get("amount_cents")
    amount = Money(cents, pack.currency) if isinstance(cents, int) else None
    values = {**facts, "args": terms.args, "amount": str(amount) if amount else None}
    text = fill_all(rung.text, values, pack.currency)
    if text is None:
        return None
    return Offer(
        id=offer_id(state.session_id, terms),
        scenario=scenario,
        rung=index,
        proposal=terms,
        amount=amount,
        text=text,
        done=rung.done,
        clause_ids=verdict.clause_ids,
    )
