"""Clauses, an engine over them, and ledger lines, in few words, for the policy's tests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agents.domain.pack import Pack
from agents.domain.words import ActionRecord, ActionStatus, Clause, Effect, Facts, Proposal, Verdict
from agents.policy.engine import PolicyEngine

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REFUND = Proposal("refund", {"order_id": "KW-1", "amount_cents": 500})
ORDER: Facts = {"order": {"id": "KW-1", "days": 5, "cents": 1999, "gone": None}}


def clause(
    effect: str, when: str = "true", *, name: str = "", scenario: str = "late", action: str = "refund", **limits: str
) -> Clause:
    return Clause(
        name or f"{effect}:{when}", (scenario,), Effect(effect), (action,), when, limits, {"en": "1"}, {"en": "A rule."}
    )


def engine(*clauses: Clause, **parameters: Any) -> PolicyEngine:
    return PolicyEngine(
        Pack("t", Path("t"), "0", ("en",), "EUR", "UTC", parameters, "owner", 30, {}, {}, {}, {}, tuple(clauses), ())
    )


def judge(
    *clauses: Clause,
    proposal: Proposal = REFUND,
    facts: Facts = ORDER,
    confirmed: bool = False,
    spent: Sequence[ActionRecord] = (),
    scenario: str = "late",
    **parameters: Any,
) -> Verdict:
    return engine(*clauses, **parameters).judge(
        proposal, scenario=scenario, facts=facts, confirmed=confirmed, spent=spent, now=NOW
    )


def line(
    cents: int, *, days_ago: float = 1, status: ActionStatus = ActionStatus.DONE, action: str = "refund", key: str = "k"
) -> ActionRecord:
    at = NOW - timedelta(days=days_ago)
    return ActionRecord(key, "s", "C-1", Proposal(action, {"amount_cents": cents}), cents, status, {}, at)


def permit(when: str = "true", name: str = "p", **place: str) -> Clause:
    return clause("permit", when, name=name, **place)


def forbid(when: str = "true", name: str = "f", **place: str) -> Clause:
    return clause("forbid", when, name=name, **place)


def require(when: str, name: str = "r") -> Clause:
    return clause("require", when, name=name)


def cap(when: str = "true", name: str = "c", **limits: str) -> Clause:
    return clause("cap", when, name=name, **limits)


PERMIT = permit()
CONFIRM = clause("require", "confirmed", name="y", scenario="*", action="*")
CAP = cap(amount_cents="1000", window_days="30")
