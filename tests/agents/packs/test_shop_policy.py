"""The demo's named cases, read from the real database and judged by the real engine: who is offered what, and why not.

Long: one table of cases and what reads it.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from agents.domain.pack import Pack
from agents.domain.render import fill, placeholders
from agents.domain.session import SessionState
from agents.domain.words import ActionRecord, ActionStatus, Effect, Facts, Proposal, Ruling, Verdict
from agents.negotiation.offers import Table, lay_table
from agents.packs.loader import load_pack
from agents.packs.shop import tools
from agents.packs.shop.accounts import REVIEW_DAYS
from agents.packs.shop.reading import COUPON_WEEK
from agents.packs.shop.seeding import REFUND_DUE_DAYS, TRACE_ANSWER_DAYS
from agents.packs.shop.shop import Shop
from agents.policy.engine import PolicyEngine
from agents.tools.backoffice import PackBackOffice
from agents.tools.gather import gather
from agents.tools.registry import collect
from tests.agents.packs.conftest import NOW, calls

CONSTANTS = {
    "coupon.week.issued": COUPON_WEEK.days,
    "missing.trace.once": TRACE_ANSWER_DAYS,
    "refund.status": REFUND_DUE_DAYS,
    "seller.apply": REVIEW_DAYS,
}
ALLOWED, DENIED, ASKS = Ruling.ALLOW, Ruling.DENY, Ruling.NEEDS_CONFIRMATION


@pytest.fixture(scope="module")
def pack() -> Pack:
    return load_pack("shop")


@pytest.fixture(scope="module")
def policy(pack: Pack) -> PolicyEngine:
    return PolicyEngine(pack)


async def facts_for(pack: Pack, shop: Shop, scenario: str, customer_id: str, slots: Mapping[str, str]) -> Facts:
    gathered = await gather(PackBackOffice(tools, shop), pack.scenarios[scenario].reads, slots, calls(customer_id))
    assert gathered.failed == {}
    return gathered.facts


def slots_of(named: str) -> dict[str, str]:
    return {"order_id": named} if named.startswith("KW") else {"seller_id": named} if named else {}


async def table_for(
    pack: Pack, policy: PolicyEngine, shop: Shop, scenario: str, customer_id: str, named: str, *spent: ActionRecord
) -> Table:
    facts = await facts_for(pack, shop, scenario, customer_id, slots_of(named))
    state = SessionState(session_id="s1", customer_id=customer_id)
    return lay_table(pack, policy, state, scenario, facts, spent, NOW)


def offered(table: Table) -> list[tuple[str, int | None]]:
    return [(offer.proposal.action, offer.amount.minor if offer.amount else None) for offer in table.offers]


def line(customer_id: str, action: str, cents: int, *, days: int, status: ActionStatus = ActionStatus.DONE) -> ActionRecord:
    at = NOW - timedelta(days=days)
    return ActionRecord(f"k{days}{cents}", "s0", customer_id, Proposal(action, {"amount_cents": cents}), cents, status, {}, at)


def test_the_pack_loads_without_a_mistake_and_is_as_large_as_promised(pack: Pack) -> None:
    assert len(pack.clauses) >= 34
    assert set(pack.scenarios) == {
        "damaged_item",
        "missing_parcel",
        "change_of_mind",
        "cancel_order",
        "coupon_request",
        "order_status",
        "refund_status",
        "seller_qualification",
        "human_request",
        "small_talk",
    }
    assert pack.texts.keys() >= {"pending", "unsure", "also", "unavailable"}


@pytest.mark.parametrize(
    ("scenario", "customer_id", "named", "offers"),
    [
        (
            "damaged_item",
            "C-001",
            "KW-1042",
            [("refund_partial", 373), ("refund_partial", 747), ("send_replacement", None), ("refund_full", 2490)],
        ),
        ("damaged_item", "C-011", "KW-1060", [("refund_partial", 1335), ("refund_partial", 2670)]),
        (
            "damaged_item",
            "C-012",
            "KW-1061",
            [("refund_partial", 1935), ("refund_partial", 3870), ("send_replacement", None), ("refund_full", 12900)],
        ),
        ("missing_parcel", "C-014", "KW-1063", [("start_trace", None)]),
        ("missing_parcel", "C-015", "KW-1064", [("reship", None), ("refund_full", 6900)]),
        ("missing_parcel", "C-016", "KW-1065", [("refund_full", 7900)]),
        ("missing_parcel", "C-017", "KW-1066", [("start_trace", None)]),
        ("change_of_mind", "C-001", "KW-1042", [("open_return", None)]),
        ("change_of_mind", "C-021", "KW-1070", [("open_return", None)]),
        ("change_of_mind", "C-023", "KW-1044", [("open_return", None)]),
        ("cancel_order", "C-007", "KW-1054", [("cancel_order", 5080)]),
        ("cancel_order", "C-023", "KW-1121", [("issue_coupon", 500), ("cancel_order", 7990)]),
        ("coupon_request", "C-002", "", [("issue_coupon", 500)]),
        ("coupon_request", "C-010", "", [("issue_coupon", 500)]),
        ("coupon_request", "C-014", "", [("issue_coupon", 500)]),
        ("seller_qualification", "C-026", "S-2001", [("submit_seller_application", None)]),
        ("seller_qualification", "C-028", "S-2003", [("request_deposit", 50000)]),
    ],
)
async def test_a_named_case_is_offered_exactly_this(
    pack: Pack,
    policy: PolicyEngine,
    shop: Shop,
    scenario: str,
    customer_id: str,
    named: str,
    offers: list[tuple[str, int | None]],
) -> None:
    table = await table_for(pack, policy, shop, scenario, customer_id, named)
    assert offered(table) == offers
    for offer in table.offers:
        assert "confirm.every_write" in offer.clause_ids
        assert "{" not in "".join(offer.text.values())
        again = await facts_for(pack, shop, scenario, customer_id, slots_of(named))
        sure = policy.judge(offer.proposal, scenario=scenario, facts=again, confirmed=True, spent=(), now=NOW)
        assert sure.ruling is ALLOWED
        assert "confirm.every_write" not in sure.clause_ids


async def test_an_unpaid_order_is_cancelled_without_a_word_of_money(pack: Pack, policy: PolicyEngine, shop: Shop) -> None:
    table = await table_for(pack, policy, shop, "cancel_order", "C-007", "KW-1056")
    assert table.offers[0].proposal.args == {"order_id": "KW-1056", "amount_cents": 0}
    assert "0.00" not in "".join(table.offers[0].text.values())


@pytest.mark.parametrize(
    ("scenario", "customer_id", "named", "clause_id"),
    [
        ("damaged_item", "C-003", "KW-1050", "damage.window"),
        ("damaged_item", "C-005", "KW-1052", "damage.refund_once"),
        ("damaged_item", "C-037", "KW-1080", "damage.replace_once"),
        ("damaged_item", "C-006", "KW-1053", "damage.not_delivered"),
        ("damaged_item", "C-013", "KW-1062", "damage.partial.limit"),
        ("damaged_item", "C-034", "KW-1078", "privacy.verified"),
        ("missing_parcel", "C-018", "KW-1067", "missing.trace.too_early"),
        ("missing_parcel", "C-007", "KW-1054", "missing.not_shipped"),
        ("change_of_mind", "C-022", "KW-1071", "return.too_late"),
        ("change_of_mind", "C-003", "KW-1050", "return.too_late"),
        ("change_of_mind", "C-004", "KW-1051", "return.no_hygiene"),
        ("change_of_mind", "C-025", "KW-1073", "return.no_digital"),
        ("change_of_mind", "C-025", "KW-1074", "return.no_custom"),
        ("change_of_mind", "C-025", "KW-1075", "return.no_food"),
        ("change_of_mind", "C-024", "KW-1072", "return.once"),
        ("change_of_mind", "C-007", "KW-1054", "return.not_delivered"),
        ("change_of_mind", "C-019", "KW-1068", "return.once"),
        ("cancel_order", "C-006", "KW-1053", "cancel.shipped"),
        ("cancel_order", "C-007", "KW-1055", "cancel.packed"),
        ("cancel_order", "C-039", "KW-1081", "cancel.again"),
        ("coupon_request", "C-008", "", "coupon.week.issued"),
        ("coupon_request", "C-009", "", "coupon.delay"),
        ("coupon_request", "C-035", "", "coupon.history"),
        ("seller_qualification", "C-027", "S-2002", "seller.licence"),
        ("seller_qualification", "C-029", "S-2004", "seller.apply.state"),
        ("seller_qualification", "C-030", "S-2005", "seller.apply.state"),
        ("seller_qualification", "C-031", "S-2006", "seller.licence.expired"),
        ("seller_qualification", "C-032", "S-2007", "seller.account.private"),
        ("seller_qualification", "C-033", "S-2008", "seller.account.suspended"),
        ("seller_qualification", "C-039", "S-2009", "seller.identity"),
        ("seller_qualification", "C-040", "S-2010", "seller.deposit_first"),
    ],
)
async def test_a_named_denial_rests_on_this_clause(
    pack: Pack, policy: PolicyEngine, shop: Shop, scenario: str, customer_id: str, named: str, clause_id: str
) -> None:
    table = await table_for(pack, policy, shop, scenario, customer_id, named)
    assert table.offers == ()
    assert table.verdicts[0].ruling is DENIED
    assert clause_id in table.verdicts[0].clause_ids[:2]  # the two that are said to the customer


async def test_a_refund_above_the_photo_limit_needs_a_photo(pack: Pack, policy: PolicyEngine, shop: Shop) -> None:
    table = await table_for(pack, policy, shop, "damaged_item", "C-011", "KW-1060")
    full = next(v for v in table.verdicts if v.proposal.action == "refund_full")
    assert (full.ruling, "damage.photo" in full.clause_ids) == (DENIED, True)


@pytest.mark.parametrize(
    ("category", "tier", "days", "ruling"),
    [
        ("home", "standard", 14, ASKS),
        ("home", "standard", 15, DENIED),
        ("home", "plus", 30, ASKS),
        ("home", "plus", 31, DENIED),
        ("fashion", "standard", 30, ASKS),
        ("fashion", "standard", 31, DENIED),
        ("fashion", "plus", 31, DENIED),
        ("food", "plus", 1, DENIED),
    ],
)
async def test_a_return_ends_on_the_last_day_of_its_window(
    pack: Pack, policy: PolicyEngine, shop: Shop, category: str, tier: str, days: int, ruling: Ruling
) -> None:
    read = await facts_for(pack, shop, "change_of_mind", "C-001", {"order_id": "KW-1042"})
    order = {**read["order"], "category": category, "delivered_days_ago": days}
    facts = {**read, "order": order, "customer": {**read["customer"], "tier": tier}}
    proposal = Proposal("open_return", {"order_id": "KW-1042"})
    verdict = policy.judge(proposal, scenario="change_of_mind", facts=facts, confirmed=False, spent=(), now=NOW)
    assert verdict.ruling is ruling


@pytest.mark.parametrize("missing", ["customer", "order", "refunds", "damage", "payment"])
async def test_without_a_fact_the_clauses_need_nothing_is_allowed(
    pack: Pack, policy: PolicyEngine, shop: Shop, missing: str
) -> None:
    facts = await facts_for(pack, shop, "damaged_item", "C-001", {"order_id": "KW-1042"})
    left = {name: fields for name, fields in facts.items() if name != missing}
    proposal = Proposal("refund_full", {"order_id": "KW-1042", "amount_cents": 2490, "send_back": True})
    # damage alone is not asked for as long as the amount is small: that is what "or" means, unknown or true is true
    if missing == "damage":
        assert judged(policy, proposal, left).ruling is ASKS
        left["payment"] = {**left["payment"], "refundable_cents": 4000}
        proposal = Proposal("refund_full", {"order_id": "KW-1042", "amount_cents": 4000, "send_back": True})
    verdict = judged(policy, proposal, left)
    assert verdict.ruling is Ruling.NEEDS_FACT
    assert missing in verdict.missing


def judged(policy: PolicyEngine, proposal: Proposal, facts: Facts) -> Verdict:
    return policy.judge(proposal, scenario="damaged_item", facts=facts, confirmed=False, spent=(), now=NOW)


@pytest.mark.parametrize(
    ("cents", "send_back"), [(2491, True), (2489, True), (0, True), (-2490, True), (2490, False), (10**9, True)]
)
async def test_no_other_full_refund_than_the_exact_one_is_permitted(
    pack: Pack, policy: PolicyEngine, shop: Shop, cents: int, send_back: bool
) -> None:
    facts = await facts_for(pack, shop, "damaged_item", "C-001", {"order_id": "KW-1042"})
    proposal = Proposal("refund_full", {"order_id": "KW-1042", "amount_cents": cents, "send_back": send_back})
    assert judged(policy, proposal, facts).ruling is DENIED


async def test_coupons_of_a_week_never_exceed_the_cap(pack: Pack, policy: PolicyEngine, shop: Shop) -> None:
    full = (line("C-002", "issue_coupon", 500, days=2), line("C-002", "issue_coupon", 500, days=6))
    assert offered(await table_for(pack, policy, shop, "coupon_request", "C-002", "", *full)) == []
    older = (full[0], line("C-002", "issue_coupon", 500, days=8))
    assert offered(await table_for(pack, policy, shop, "coupon_request", "C-002", "", *older)) == [("issue_coupon", 500)]


async def test_a_coupon_whose_outcome_is_unknown_counts_against_the_cap(pack: Pack, policy: PolicyEngine, shop: Shop) -> None:
    spent = line("C-002", "issue_coupon", 1000, days=1, status=ActionStatus.UNKNOWN)
    table = await table_for(pack, policy, shop, "coupon_request", "C-002", "", spent)
    assert offered(table) == []
    assert "coupon.week" in table.verdicts[0].clause_ids


async def test_the_fourth_refund_of_a_month_is_for_a_person(pack: Pack, policy: PolicyEngine, shop: Shop) -> None:
    spent = tuple(line("C-001", "refund_partial", 100, days=days) for days in (3, 9, 20))
    table = await table_for(pack, policy, shop, "damaged_item", "C-001", "KW-1042", *spent)
    assert offered(table) == [("send_replacement", None)]
    assert "refund.month.count" in table.verdicts[0].clause_ids


async def test_a_coupon_once_issued_for_a_delay_is_not_offered_again(pack: Pack, policy: PolicyEngine, shop: Shop) -> None:
    await tools.issue_coupon(shop, calls("C-002", "key-1"), 500, "delay", "KW-1077")
    table = await table_for(pack, policy, shop, "coupon_request", "C-002", "")
    assert offered(table) == []
    assert "coupon.one_per_delay" in table.verdicts[0].clause_ids


async def test_every_offer_can_be_carried_out_and_its_done_text_be_said(
    pack: Pack, policy: PolicyEngine, tmp_path: Path
) -> None:
    cases = {
        ("damaged_item", "C-012", "KW-1061"),
        ("missing_parcel", "C-015", "KW-1064"),
        ("missing_parcel", "C-014", "KW-1063"),
    }
    cases |= {
        ("change_of_mind", "C-021", "KW-1070"),
        ("cancel_order", "C-007", "KW-1054"),
        ("cancel_order", "C-007", "KW-1056"),
        ("cancel_order", "C-023", "KW-1121"),
        ("cancel_order", "C-038", "KW-1122"),
    }
    cases |= {("coupon_request", "C-002", ""), ("coupon_request", "C-010", "")}
    cases |= {("seller_qualification", "C-026", "S-2001"), ("seller_qualification", "C-028", "S-2003")}
    carried_out = set()
    for scenario, customer_id, named in sorted(cases):
        for rung in range(4):
            shop = await tools.open_back_office(tmp_path / f"{scenario}{customer_id}{named}{rung}", NOW)
            back_office = PackBackOffice(tools, shop)
            try:
                table = await table_for(pack, policy, shop, scenario, customer_id, named)
                facts = await facts_for(pack, shop, scenario, customer_id, slots_of(named))
                for offer in (offer for offer in table.offers if offer.rung == rung):
                    for number, step in enumerate(offer.steps):
                        proposal, amount = step.proposal, str(step.amount)
                        receipt = await back_office.call(proposal.action, proposal.args, calls(customer_id, f"{number}"))
                        values = {**facts, "args": proposal.args, "amount": amount, "receipt": receipt}
                        assert all(fill(text, values, pack.currency) for text in (*step.done.values(), *step.undone.values()))
                        carried_out.add(proposal.action)
            finally:
                await back_office.close()
    writes = [bound.spec for bound in collect(tools) if bound.spec.kind == "write"]
    assert carried_out == {spec.name for spec in writes} - {spec.undo.tool for spec in writes if spec.undo is not None}


async def test_a_late_order_is_cancelled_with_a_coupon_or_a_no_without(pack: Pack, policy: PolicyEngine, shop: Shop) -> None:
    both, plain = (await table_for(pack, policy, shop, "cancel_order", "C-023", "KW-1121")).offers
    assert [proposal.action for proposal in both.proposals] == ["issue_coupon", "cancel_order"]
    assert plain.then == ()
    assert both.id != plain.id
    for locale, amounts in (("en", ("5.00 EUR", "79.90 EUR")), ("zh", ("5.00 EUR", "79.90 EUR"))):
        assert all(amount in both.text[locale] for amount in amounts)
    assert {"cancel.late.coupon", "cancel.paid", "confirm.every_write"} <= set(both.clause_ids)


async def test_where_the_coupon_is_beyond_its_cap_only_the_cancellation_is_offered(
    pack: Pack, policy: PolicyEngine, shop: Shop
) -> None:
    spent = line("C-023", "issue_coupon", 1000, days=2)
    table = await table_for(pack, policy, shop, "cancel_order", "C-023", "KW-1121", spent)
    assert offered(table) == [("cancel_order", 7990)]
    undone = line("C-023", "issue_coupon", 1000, days=2, status=ActionStatus.UNDONE)
    assert len((await table_for(pack, policy, shop, "cancel_order", "C-023", "KW-1121", undone)).offers) == 2


async def test_every_scenario_can_tell_any_customer_about_any_order(pack: Pack, shop: Shop) -> None:
    orders = await shop.reader.execute_fetchall(
        "SELECT id, customer_id FROM orders UNION ALL SELECT id, customer_id FROM sellers"
    )
    told = 0
    for scenario in pack.scenarios.values():
        for named, customer_id in orders:
            slots = slots_of(named)
            if set(scenario.slots) <= set(slots) and scenario.tell:
                facts = await facts_for(pack, shop, scenario.id, customer_id, slots)
                for text in scenario.tell.values():
                    said = fill(text, facts, pack.currency)
                    assert said
                    assert "{" not in said
                    told += 1
    assert told > 1000


async def test_an_order_status_names_carrier_and_expected_day(pack: Pack, shop: Shop) -> None:
    facts = await facts_for(pack, shop, "order_status", "C-001", {"order_id": "KW-1043"})
    said = fill(pack.scenarios["order_status"].tell["en"], facts, pack.currency) or ""
    assert facts["parcel"]["carrier"] in said
    assert "expected on 2026-11-25" in said


async def test_a_refund_status_names_amount_and_day(pack: Pack, shop: Shop) -> None:
    facts = await facts_for(pack, shop, "refund_status", "C-019", {"order_id": "KW-1068"})
    said = fill(pack.scenarios["refund_status"].tell["zh"], facts, pack.currency) or ""
    assert "42.90 EUR" in said
    assert "2026-11-26" in said


async def test_a_seller_is_told_what_is_missing(pack: Pack, shop: Shop) -> None:
    facts = await facts_for(pack, shop, "seller_qualification", "C-028", {"seller_id": "S-2003"})
    said = fill(pack.scenarios["seller_qualification"].tell["en"], facts, pack.currency) or ""
    assert "deposit of 500.00 EUR" in said


def test_a_text_says_the_same_things_in_both_languages(pack: Pack) -> None:
    """Same placeholders but for the language of a name or phrase, and the same numbers."""

    def bare(text: str) -> set[str]:
        return {re.sub(r"_(en|zh)$", "", name) for name in placeholders(text)}

    pairs = [rung.text for ladder in pack.ladders.values() for rung in ladder.rungs]
    pairs += [rung.done for ladder in pack.ladders.values() for rung in ladder.rungs]
    pairs += [scenario.tell for scenario in pack.scenarios.values() if scenario.tell] + list(pack.texts.values())
    assert [pair for pair in pairs if bare(pair["en"]) != bare(pair["zh"])] == []


def test_a_clause_names_the_same_numbers_in_both_languages(pack: Pack) -> None:
    def numbers(text: str) -> set[str]:
        return set(re.findall(r"\d+(?:\.\d+)?", text))

    differing = [clause.id for clause in pack.clauses if numbers(clause.body["en"]) != numbers(clause.body["zh"])]
    assert differing == []


def test_the_numbers_a_clause_names_are_its_parameters(pack: Pack) -> None:
    """Prose cannot drift from condition or code: each number in it is the value of a parameter or constant that decides."""
    wrong = []
    for clause in pack.clauses:
        source = " ".join((clause.when, *clause.limits.values()))
        values: set[float] = {float(number) for number in re.findall(r"(?<![\w.])\d+", source)}
        for name in re.findall(r"param\.(\w+)", source):
            value = pack.parameters[name]
            if isinstance(value, int):
                values |= {value / 100 if name.endswith("_cents") else float(value)}
        values |= {float(CONSTANTS[clause.id])} if clause.id in CONSTANTS else set()
        said = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", clause.body["en"])}
        if not said <= values:
            wrong.append((clause.id, said - values))
    assert wrong == []


def test_no_permit_is_open_to_every_action(pack: Pack) -> None:
    assert [c.id for c in pack.clauses if c.effect is Effect.PERMIT and "*" in (*c.actions, *c.scenarios)] == []
