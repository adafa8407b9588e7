"""Verdicts for an offer of several writes: each step is judged as if the ones before it were in the ledger already.

So a cap counts the whole offer. Facts are those before the first step: what a step needs of an earlier one is the order's, not
the policy's.
"""

from collections.abc import Sequence
from datetime import datetime

from agents.domain.words import ActionRecord, ActionStatus, Facts, Proposal, Verdict
from agents.policy.engine import PolicyEngine


def judge_steps(
    policy: PolicyEngine,
    proposals: Sequence[Proposal],
    *,
    scenario: str,
    facts: Facts,
    confirmed: bool,
    spent: Sequence[ActionRecord],
    now: datetime,
) -> tuple[Verdict, ...]:
    """One verdict a step, in order. `spent` are the customer's ledger lines. Never raises on hostile arguments."""
    verdicts, counted = [], list(spent)
    for number, proposal in enumerate(proposals):
        verdicts.append(policy.judge(proposal, scenario=scenario, facts=facts, confirmed=confirmed, spent=counted, now=now))
        counted.append(as_if_planned(proposal, number, now))
    return tuple(verdicts)


def as_if_planned(proposal: Proposal, number: int, now: datetime) -> ActionRecord:
    """The ledger line an earlier step of the same offer will have."""
    cents = proposal.args.get("amount_cents")
    amount = cents if type(cents) is int else None
    return ActionRecord(f"step {number}", "", "", proposal, amount, ActionStatus.PLANNED, {}, now)
