"""The shop's tools on a real SQLite file: ownership, acting once, refusing what cannot be, money never above what was paid.

Long: its cases share one seeded shop.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.domain.errors import ToolFailed, ToolRefused
from agents.packs.shop import tools
from agents.packs.shop.calendar_days import days_ago, moment_days_ago, stamp
from agents.packs.shop.seeding import create_database
from agents.packs.shop.shop import FILE, Shop, open_shop
from agents.tools.backoffice import PackBackOffice
from agents.tools.registry import collect
from tests.agents.packs.conftest import NOW, calls

BY_ORDER = (tools.get_order, tools.get_parcel, tools.get_payment, tools.get_refunds, tools.get_damage_report)
Write = Callable[[Shop, str], Awaitable[Any]]
WRITES: dict[str, Write] = {
    "refund_partial": lambda shop, key: tools.refund_partial(shop, calls("C-001", key), "KW-1042", 747),
    "refund_full": lambda shop, key: tools.refund_full(shop, calls("C-001", key), "KW-1042", 2490, True),
    "send_replacement": lambda shop, key: tools.send_replacement(shop, calls("C-001", key), "KW-1042"),
    "reship": lambda shop, key: tools.reship(shop, calls("C-015", key), "KW-1064"),
    "start_trace": lambda shop, key: tools.start_trace(shop, calls("C-014", key), "KW-1063"),
    "open_return": lambda shop, key: tools.open_return(shop, calls("C-021", key), "KW-1070"),
    "cancel_order": lambda shop, key: tools.cancel_order(shop, calls("C-007", key), "KW-1054", 5080),
    "issue_coupon": lambda shop, key: tools.issue_coupon(shop, calls("C-002", key), 500, "delay", "KW-1077"),
    "withdraw_coupon": lambda shop, key: tools.withdraw_coupon(shop, calls("C-038", key), "CP-8004"),
    "submit_seller_application": lambda shop, key: tools.submit_seller_application(shop, calls("C-026", key), "S-2001"),
    "request_deposit": lambda shop, key: tools.request_deposit(shop, calls("C-028", key), "S-2003", 50000),
}
TABLES = ("orders", "parcels", "refunds", "returns", "traces", "coupons", "sellers", "deposit_invoices", "receipts")


async def contents(shop: Shop) -> dict[str, list[tuple[Any, ...]]]:
    found = {}
    for table in TABLES:
        rows = await shop.reader.execute_fetchall(f"SELECT * FROM {table}")
        found[table] = sorted((tuple(row) for row in rows), key=repr)
    return found


def test_every_write_tool_has_its_case_here() -> None:
    bound = collect(tools)
    assert {b.spec.name for b in bound if b.spec.kind == "write"} == set(WRITES)
    assert sum(b.spec.kind == "read" for b in bound) >= 8


async def test_the_customers_a_demo_offers_are_those_of_the_seeds(shop: Shop) -> None:
    rows = await shop.reader.execute_fetchall("SELECT id FROM customers ORDER BY id")
    assert tuple(row["id"] for row in rows) == tools.DEV_CUSTOMERS


@pytest.mark.parametrize("read", BY_ORDER, ids=lambda read: str(read.__name__))
async def test_a_read_refuses_another_customers_order_like_one_that_does_not_exist(shop: Shop, read: Any) -> None:
    with pytest.raises(ToolRefused) as theirs:
        await read(shop, calls("C-002"), "KW-1042")
    with pytest.raises(ToolRefused) as nobodys:
        await read(shop, calls("C-002"), "KW-9999")
    assert str(theirs.value).replace("KW-1042", "") == str(nobodys.value).replace("KW-9999", "")


async def test_a_seller_account_is_read_by_its_owner_only(shop: Shop) -> None:
    assert (await tools.get_seller(shop, calls("C-026"), "S-2001")).state == "draft"
    with pytest.raises(ToolRefused):
        await tools.get_seller(shop, calls("C-027"), "S-2001")


@pytest.mark.parametrize("order_id", ["", "' OR 1=1 --", "KW-1042'; DROP TABLE orders; --", "\x00", "订单", "K" * 100_000])
async def test_hostile_ids_are_unknown_orders(shop: Shop, order_id: str) -> None:
    with pytest.raises(ToolRefused):
        await tools.get_order(shop, calls("C-001"), order_id)


async def test_facts_hold_json_values_and_never_a_null(shop: Shop) -> None:
    rows = await shop.reader.execute_fetchall("SELECT id, customer_id FROM orders")
    for order_id, customer_id in rows:
        for read in BY_ORDER:
            fact = await read(shop, calls(customer_id), order_id)
            for field in fields(fact):
                assert isinstance(getattr(fact, field.name), str | int), (order_id, field.name)


async def test_the_named_order_is_as_the_demo_tells_it(shop: Shop) -> None:
    order = await tools.get_order(shop, calls("C-001"), "KW-1042")
    assert (order.item, order.item_cents, order.status, order.delivered_days_ago) == ("ceramic mug set", 2490, "delivered", 2)
    customer = await tools.get_customer(shop, calls("C-002"))
    assert (customer.late_order_id, customer.late_days, customer.late_order_has_coupon) == ("KW-1077", 4, False)


@pytest.mark.parametrize("name", WRITES)
async def test_the_same_key_acts_once_and_gives_the_first_receipt_again(shop: Shop, name: str) -> None:
    first = await WRITES[name](shop, "key-1")
    after = await contents(shop)
    assert await WRITES[name](shop, "key-1") == first
    assert await contents(shop) == after


@pytest.mark.parametrize("name", WRITES)
async def test_twenty_calls_at_once_under_one_key_act_once(shop: Shop, name: str) -> None:
    receipts = await asyncio.gather(*(WRITES[name](shop, "key-1") for _ in range(20)))
    assert all(receipt == receipts[0] for receipt in receipts)
    assert len((await contents(shop))["receipts"]) == 1


@pytest.mark.parametrize("name", WRITES)
async def test_the_receipt_of_a_write_can_be_looked_up_by_its_key(shop: Shop, name: str) -> None:
    assert await tools.lookup_receipt(shop, calls("C-001", "key-1")) is None
    done = await WRITES[name](shop, "key-1")
    assert await tools.lookup_receipt(shop, calls("C-001", "key-1")) == asdict(done)


@pytest.mark.parametrize("name", [name for name in WRITES if name != "refund_partial"])
async def test_a_second_key_cannot_do_the_same_thing_again(shop: Shop, name: str) -> None:
    await WRITES[name](shop, "key-1")
    after = await contents(shop)
    with pytest.raises(ToolRefused):
        await WRITES[name](shop, "key-2")
    assert await contents(shop) == after


@pytest.mark.parametrize(("customer_id", "code"), [("C-002", "CP-8004"), ("C-038", "CP-9999"), ("C-038", "")])
async def test_a_coupon_that_is_not_the_customers_cannot_be_withdrawn(shop: Shop, customer_id: str, code: str) -> None:
    with pytest.raises(ToolRefused, match="no coupon"):
        await tools.withdraw_coupon(shop, calls(customer_id, "key-1"), code)


async def test_a_used_coupon_cannot_be_withdrawn(shop: Shop) -> None:
    async with shop.writing() as db:
        await db.execute("UPDATE coupons SET used = 1 WHERE code = 'CP-8004'")
    with pytest.raises(ToolRefused, match="used already"):
        await WRITES["withdraw_coupon"](shop, "key-1")


async def test_an_order_is_overdue_only_while_nothing_was_sent(shop: Shop) -> None:
    late = await tools.get_order(shop, calls("C-023"), "KW-1121")
    assert (late.status, late.overdue_days, late.delay_coupon) == ("paid", 5, False)
    assert (await tools.get_order(shop, calls("C-002"), "KW-1077")).overdue_days == 0  # on its way: its parcel is late


async def test_a_key_that_stands_for_another_call_is_refused(shop: Shop) -> None:
    await WRITES["refund_partial"](shop, "key-1")
    with pytest.raises(ToolRefused, match="another call"):
        await tools.refund_partial(shop, calls("C-001", "key-1"), "KW-1042", 100)


async def test_a_write_without_a_key_is_refused(shop: Shop) -> None:
    with pytest.raises(ToolRefused, match="idempotency key"):
        await tools.open_return(shop, calls("C-021"), "KW-1070")


async def test_two_processes_on_one_file_act_once(shop: Shop, tmp_path: Path) -> None:
    other = await open_shop(tmp_path)
    try:
        one, two = await asyncio.gather(WRITES["refund_full"](shop, "key-1"), WRITES["refund_full"](other, "key-1"))
    finally:
        await other.close()
    assert one == two
    assert len((await contents(shop))["refunds"]) == 5  # four from the seeds


@pytest.mark.parametrize(
    "attempt",
    [
        lambda shop, call: tools.refund_partial(shop, call, "KW-1042", 747),
        lambda shop, call: tools.refund_full(shop, call, "KW-1042", 2490, False),
        lambda shop, call: tools.send_replacement(shop, call, "KW-1042"),
        lambda shop, call: tools.open_return(shop, call, "KW-1042"),
        lambda shop, call: tools.start_trace(shop, call, "KW-1042"),
        lambda shop, call: tools.cancel_order(shop, call, "KW-1054", 5080),
        lambda shop, call: tools.reship(shop, call, "KW-1064"),
        lambda shop, call: tools.issue_coupon(shop, call, 500, "delay", "KW-1077"),
        lambda shop, call: tools.submit_seller_application(shop, call, "S-2001"),
        lambda shop, call: tools.request_deposit(shop, call, "S-2003", 50000),
    ],
)
async def test_no_write_touches_what_belongs_to_another_customer(shop: Shop, attempt: Any) -> None:
    before = await contents(shop)
    with pytest.raises(ToolRefused):
        await attempt(shop, calls("C-040", "key-1"))
    assert await contents(shop) == before


@pytest.mark.parametrize(
    ("customer_id", "attempt"),
    [
        ("C-006", lambda shop, call: tools.cancel_order(shop, call, "KW-1053", 3490)),  # shipped
        ("C-007", lambda shop, call: tools.cancel_order(shop, call, "KW-1055", 12900)),  # packed
        ("C-007", lambda shop, call: tools.cancel_order(shop, call, "KW-1054", 1)),  # not what was paid
        ("C-007", lambda shop, call: tools.refund_full(shop, call, "KW-1056", 0, False)),  # never paid
        ("C-016", lambda shop, call: tools.reship(shop, call, "KW-1065")),  # out of stock
        ("C-037", lambda shop, call: tools.send_replacement(shop, call, "KW-1080")),  # replaced already
        ("C-024", lambda shop, call: tools.open_return(shop, call, "KW-1072")),  # returned already
        ("C-019", lambda shop, call: tools.refund_partial(shop, call, "KW-1068", 1)),  # refunded in full
        ("C-019", lambda shop, call: tools.send_replacement(shop, call, "KW-1068")),  # refunded in full
        ("C-001", lambda shop, call: tools.refund_partial(shop, call, "KW-1042", 0)),
        ("C-001", lambda shop, call: tools.refund_partial(shop, call, "KW-1042", -1)),
        ("C-001", lambda shop, call: tools.refund_partial(shop, call, "KW-1042", 2491)),  # above paid
        ("C-002", lambda shop, call: tools.issue_coupon(shop, call, 0, "loyalty", "")),
        ("C-002", lambda shop, call: tools.issue_coupon(shop, call, 500, "delay", "")),
        ("C-027", lambda shop, call: tools.submit_seller_application(shop, call, "S-2002")),  # no licence
        ("C-029", lambda shop, call: tools.submit_seller_application(shop, call, "S-2004")),  # in review
        ("C-028", lambda shop, call: tools.request_deposit(shop, call, "S-2003", 49999)),
    ],
)
async def test_what_the_records_make_impossible_is_refused_without_a_trace(shop: Shop, customer_id: str, attempt: Any) -> None:
    before = await contents(shop)
    with pytest.raises(ToolRefused):
        await attempt(shop, calls(customer_id, "key-1"))
    assert await contents(shop) == before


async def test_a_write_cancelled_half_way_leaves_nothing_and_the_next_one_works(shop: Shop) -> None:
    before, inside = await contents(shop), asyncio.Event()

    async def half() -> None:
        async with shop.writing() as db:
            await db.execute("UPDATE orders SET status = 'cancelled'")
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(half())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await contents(shop) == before
    assert (await WRITES["cancel_order"](shop, "key-1")).amount_cents == 5080


async def test_a_database_another_process_holds_too_long_certainly_did_nothing(tmp_path: Path) -> None:
    shop = await open_shop(tmp_path, now=NOW)
    holder = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    try:
        await shop.reader.execute("SELECT 1")
        await shop.writer.execute("PRAGMA busy_timeout = 20")
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(ToolFailed):
            await WRITES["open_return"](shop, "key-1")
        holder.execute("ROLLBACK")
        assert await tools.lookup_receipt(shop, calls("C-021", "key-1")) is None
        await WRITES["open_return"](shop, "key-1")
    finally:
        holder.close()
        await shop.close()


async def test_the_database_itself_refuses_refunds_above_what_was_paid(shop: Shop) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="above what was paid"):
        async with shop.writing() as db:
            await db.execute("INSERT INTO refunds VALUES ('RF-1', 'KW-1042', 'partial', 2491, '2026-11-23', '2026-11-28')")


class Money:
    """Any sequence of refunds and cancellations, on any named order."""

    steps = st.lists(
        st.tuples(
            st.sampled_from(["refund_partial", "refund_full", "cancel_order"]),
            st.sampled_from([("C-001", "KW-1042"), ("C-005", "KW-1052"), ("C-007", "KW-1054"), ("C-015", "KW-1064")]),
            st.integers(-10, 7000) | st.sampled_from([2490, 1990, 1692, 5080, 6900]),
        ),
        max_size=12,
    )


@settings(max_examples=40, deadline=None)
@given(steps=Money.steps)
def test_whatever_is_tried_an_order_never_gets_back_more_than_was_paid(steps: list[tuple[str, tuple[str, str], int]]) -> None:
    async def play(folder: Path) -> None:
        shop = await open_shop(folder, now=NOW)
        try:
            for number, (what, (customer_id, order_id), cents) in enumerate(steps):
                call = calls(customer_id, f"key-{number}")
                try:
                    if what == "refund_partial":
                        await tools.refund_partial(shop, call, order_id, cents)
                    elif what == "refund_full":
                        await tools.refund_full(shop, call, order_id, cents, False)
                    else:
                        await tools.cancel_order(shop, call, order_id, cents)
                except ToolRefused:
                    continue
            rows = await shop.reader.execute_fetchall(
                "SELECT p.paid_cents, coalesce(sum(r.amount_cents), 0) FROM payments p LEFT JOIN refunds r USING (order_id)"
                " GROUP BY p.order_id"
            )
            assert all(back <= paid for paid, back in rows)
        finally:
            await shop.close()

    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


async def test_the_tools_work_behind_the_back_office_port(shop: Shop) -> None:
    back_office = PackBackOffice(tools, shop)
    fact = await back_office.call("get_order", {"order_id": "KW-1042"}, calls("C-001"))
    assert fact["item_cents"] == 2490
    receipt = await back_office.call("open_return", {"order_id": "KW-1042"}, calls("C-001", "key-1"))
    assert receipt["order_id"] == "KW-1042"


async def test_a_shop_that_is_opened_again_keeps_what_happened(tmp_path: Path) -> None:
    first = await open_shop(tmp_path, now=NOW)
    await WRITES["open_return"](first, "key-1")
    await first.close()
    again = await open_shop(tmp_path, now=NOW + timedelta(days=9))
    try:
        assert (await tools.get_order(again, calls("C-021"), "KW-1070")).return_open
        assert (await tools.get_order(again, calls("C-001", now=NOW + timedelta(days=9)), "KW-1042")).delivered_days_ago == 11
    finally:
        await again.close()


def test_a_second_creator_leaves_the_first_database_and_no_draft(tmp_path: Path) -> None:
    create_database(tmp_path / FILE, NOW)
    before = (tmp_path / FILE).stat().st_ino
    create_database(tmp_path / FILE, NOW)
    assert (tmp_path / FILE).stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@given(
    now=st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC)),
    days=st.integers(0, 400),
)
def test_a_seeded_day_is_the_same_number_of_days_ago_at_any_hour_of_any_day(now: datetime, days: int) -> None:
    moment = moment_days_ago(now, days)
    assert moment <= now
    assert days_ago(stamp(moment), now) == days
