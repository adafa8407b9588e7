"""What holds of every verdict, over random clauses, facts and ledgers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agents.domain.words import ActionRecord, ActionStatus, Clause, Effect, Facts, Proposal, Ruling
from agents.policy.conditions import Expression, Scope
from agents.policy.explain import explain
from tests.agents.policy_words import NOW, ORDER, PERMIT, cap, clause, engine, judge, line

ALLOW, DENY, ASK, FACT = Ruling.ALLOW, Ruling.DENY, Ruling.NEEDS_CONFIRMATION, Ruling.NEEDS_FACT
CONDITIONS = [
    "true",
    "false",
    "order.days > 3",
    "order.days < 3",
    "parcel.lost",
    "confirmed",
    "!confirmed",
    "args.amount_cents > 400",
    "args.nothing",
    "parcel.lost && false",
    "parcel.lost || order.days == 5",
    "confirmed && order.days > 3",
    "1/0 == 0",
]
LIMITS: list[Mapping[str, str]] = [
    {"amount_cents": "1000"},
    {"amount_cents": "600", "window_days": "7"},
    {"count": "2", "window_days": "30"},
    {"count": "parcel.count"},
]


@st.composite
def any_clause(draw: st.DrawFn, effects: Sequence[str] = ("permit", "forbid", "require", "cap")) -> Clause:
    effect = draw(st.sampled_from(effects))
    limits = draw(st.sampled_from(LIMITS)) if effect == "cap" else {}
    scenario, action = draw(st.sampled_from(["late", "other", "*"])), draw(st.sampled_from(["refund", "coupon", "*"]))
    name = str(draw(st.integers(0, 10**12)))
    return clause(effect, draw(st.sampled_from(CONDITIONS)), name=name, scenario=scenario, action=action, **limits)


CLAUSES = st.lists(any_clause(), max_size=6, unique_by=lambda each: each.id)
FACTS = st.sampled_from([{}, ORDER, {**ORDER, "parcel": {"lost": True, "count": 1}}, {"parcel": {"lost": False, "count": 9}}])
PROPOSALS = st.builds(
    lambda action, cents: Proposal(action, {"amount_cents": cents}),
    st.sampled_from(["refund", "coupon"]),
    st.integers(-5, 2000),
)
SPENT = st.lists(
    st.builds(
        line,
        st.integers(0, 1500),
        days_ago=st.floats(0, 60),
        status=st.sampled_from(ActionStatus),
        action=st.sampled_from(["refund", "coupon"]),
    ),
    max_size=4,
)
RANK = {DENY: 0, FACT: 1, ASK: 2, ALLOW: 3}


def applies(each: Clause, proposal: Proposal) -> bool:
    return each.scenarios[0] in ("late", "*") and each.actions[0] in (proposal.action, "*")


def holds(each: Clause, proposal: Proposal, facts: Facts, confirmed: bool) -> bool:
    scope = Scope(facts, param={}, args=dict(proposal.args), confirmed=confirmed)
    return Expression(each.when).truth(scope) is True


@given(clauses=CLAUSES, proposal=PROPOSALS, facts=FACTS, confirmed=st.booleans(), spent=SPENT)
def test_nothing_is_allowed_without_a_permit_that_holds(
    clauses: list[Clause], proposal: Proposal, facts: Facts, confirmed: bool, spent: list[ActionRecord]
) -> None:
    verdict = judge(*clauses, proposal=proposal, facts=facts, confirmed=confirmed, spent=spent)
    permits = [each for each in clauses if each.effect is Effect.PERMIT and applies(each, proposal)]
    if verdict.ruling is ALLOW:
        assert any(each.id in verdict.clause_ids and holds(each, proposal, facts, True) for each in permits)


@given(clauses=CLAUSES, proposal=PROPOSALS, facts=FACTS, spent=SPENT)
def test_a_forbid_that_holds_always_denies(
    clauses: list[Clause], proposal: Proposal, facts: Facts, spent: list[ActionRecord]
) -> None:
    against = [c for c in clauses if c.effect is Effect.FORBID and applies(c, proposal) and holds(c, proposal, facts, True)]
    verdict = judge(*clauses, proposal=proposal, facts=facts, confirmed=True, spent=spent)
    assert not against or (verdict.ruling is DENY and {each.id for each in against} <= set(verdict.clause_ids))


@given(
    clauses=CLAUSES,
    more=any_clause(("forbid", "require", "cap")),
    proposal=PROPOSALS,
    facts=FACTS,
    confirmed=st.booleans(),
    spent=SPENT,
)
def test_one_more_restriction_never_allows_more(
    clauses: list[Clause], more: Clause, proposal: Proposal, facts: Facts, confirmed: bool, spent: list[ActionRecord]
) -> None:
    given_: dict[str, Any] = {"proposal": proposal, "facts": facts, "confirmed": confirmed, "spent": spent}
    assert RANK[judge(*clauses, replace(more, id="more"), **given_).ruling] <= RANK[judge(*clauses, **given_).ruling]


@given(clauses=CLAUSES, proposal=PROPOSALS, facts=FACTS, spent=SPENT)
def test_what_is_legal_before_the_yes_is_allowed_after_it(
    clauses: list[Clause], proposal: Proposal, facts: Facts, spent: list[ActionRecord]
) -> None:
    before = judge(*clauses, proposal=proposal, facts=facts, confirmed=False, spent=spent).ruling
    after = judge(*clauses, proposal=proposal, facts=facts, confirmed=True, spent=spent).ruling
    assert (before in (ALLOW, ASK)) == (after is ALLOW)


@given(
    asked=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 20)), min_size=1, max_size=12),
    limit=st.integers(0, 2000),
    window_days=st.integers(1, 30),
)
def test_a_cap_is_never_exceeded_in_any_window(asked: list[tuple[int, int]], limit: int, window_days: int) -> None:
    policy = engine(PERMIT, cap(amount_cents=str(limit), window_days=str(window_days)))
    now, done = NOW, list[ActionRecord]()
    for cents, days_later in asked:
        now += timedelta(days=days_later)
        proposal = Proposal("refund", {"amount_cents": cents})
        if policy.judge(proposal, scenario="late", facts={}, confirmed=True, spent=done, now=now).ruling is ALLOW:
            done.append(ActionRecord(str(len(done)), "s", "C-1", proposal, cents, ActionStatus.DONE, {}, now))
    for end in [each.at for each in done if each.at is not None]:
        inside = [d for d in done if d.at is not None and end - timedelta(days=window_days) < d.at <= end]
        assert sum(each.amount_cents or 0 for each in inside) <= limit


@settings(max_examples=400)
@given(clauses=CLAUSES, proposal=PROPOSALS, facts=FACTS, confirmed=st.booleans(), spent=SPENT)
def test_what_does_not_say_yes_says_what_would_change_it(
    clauses: list[Clause], proposal: Proposal, facts: Facts, confirmed: bool, spent: list[ActionRecord]
) -> None:
    shown = explain(engine(*clauses), proposal, scenario="late", facts=facts, confirmed=confirmed, spent=spent, now=NOW)
    assert (shown.changes == ()) == (shown.verdict.ruling is ALLOW)
