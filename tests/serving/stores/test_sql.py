"""What every store keeps to, on both databases."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from agents.domain.errors import NotFound, TurnInProgress
from agents.domain.events import HandoffRaised, ReplySentence, SessionStarted, TurnStarted
from agents.domain.words import ActionRecord, ActionStatus, Handoff, Proposal
from serving.stores.errors import StoreUnavailable
from serving.stores.handoffs import HandoffStore
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore
from tests.fakes import SetClock

STARTED = SessionStarted("ses_1", "shop", "C-001", "en", {"page": "orders"})


def turn(turn_id: str, key: str | None = None) -> TurnStarted:
    return TurnStarted(turn_id, "我的杯子碎了 ☕", "zh", idempotency_key=key)


def record(key: str, clock: SetClock, *, customer: str = "C-001", status: ActionStatus = ActionStatus.INTENDED) -> ActionRecord:
    proposal = Proposal("refund_full", {"order_id": "KW-1042", "amount_cents": 2490})
    return ActionRecord(key, "ses_1", customer, proposal, 2490, status, {}, clock.now())


async def test_events_come_back_as_they_went_in(store: SqlStore) -> None:
    await store.append("ses_1", [STARTED, turn("t1", "k1")], expected_seq=0)
    await store.append("ses_1", [ReplySentence("t1", 0, "好的。", "pack")], expected_seq=2)
    stored = await store.events("ses_1")
    assert [each.event for each in stored] == [STARTED, turn("t1", "k1"), ReplySentence("t1", 0, "好的。", "pack")]
    assert [each.seq for each in stored] == [1, 2, 3]
    assert [each.seq for each in await store.events("ses_1", after_seq=2)] == [3]


async def test_each_event_is_chained_to_the_one_before(store: SqlStore) -> None:
    stored = await store.append("ses_1", [STARTED, turn("t1")], expected_seq=0)
    again = await store.events("ses_1")
    assert [each.hash for each in again] == [each.hash for each in stored]
    assert len({each.hash for each in again}) == 2


async def test_one_signature_stands_behind_all_that_was_stored_together(store: SqlStore) -> None:
    await store.append("ses_1", [STARTED, turn("t1"), ReplySentence("t1", 0, "Yes.", "pack")], expected_seq=0)
    await store.append("ses_1", [ReplySentence("t1", 1, "No.", "pack")], expected_seq=3)
    verifier = Signer("secret").verifier
    assert not await store.audit("ses_1", verifier)
    async with store.engine.begin() as connection:
        rows = (await connection.execute(text("SELECT signature FROM events ORDER BY seq"))).scalars().all()
        assert [each is None for each in rows] == [True, True, False, False]
        await connection.execute(text("UPDATE events SET signature = NULL WHERE seq > 2"))
    assert {each.seq for each in await store.audit("ses_1", verifier)} == {1, 2, 3, 4}


async def test_an_unknown_session_is_not_found(store: SqlStore) -> None:
    for call in (store.events("nope"), store.session_customer("nope"), store.acquire_lease("nope", "me", ttl_s=5)):
        with pytest.raises(NotFound) as raised:
            await call
        assert "POST /v1/sessions" in raised.value.hint


async def test_a_session_belongs_to_the_customer_it_was_opened_for(store: SqlStore) -> None:
    await store.append("ses_1", [STARTED], expected_seq=0)
    assert await store.session_customer("ses_1") == "C-001"


async def test_two_writers_at_the_same_place_one_wins_and_nothing_of_the_other_stays(store: SqlStore) -> None:
    await store.append("ses_1", [STARTED], expected_seq=0)
    writes = (store.append("ses_1", [turn(f"t{n}"), ReplySentence(f"t{n}", 0, "x", "pack")], expected_seq=1) for n in range(8))
    results = await asyncio.gather(*writes, return_exceptions=True)
    lost = [each for each in results if isinstance(each, BaseException)]
    assert len(lost) == 7
    assert all(isinstance(each, TurnInProgress) for each in lost)
    assert [each.seq for each in await store.events("ses_1")] == [1, 2, 3]


async def test_writing_past_the_end_leaves_no_gap(store: SqlStore) -> None:
    await store.append("ses_1", [STARTED], expected_seq=0)
    with pytest.raises(NotFound):
        await store.append("ses_1", [turn("t1")], expected_seq=5)
    assert len(await store.events("ses_1")) == 1


async def test_a_lease_is_held_by_one_and_runs_out(store: SqlStore, clock: SetClock) -> None:
    await store.append("ses_1", [STARTED], expected_seq=0)
    assert await store.acquire_lease("ses_1", "a", ttl_s=10)
    assert not await store.acquire_lease("ses_1", "b", ttl_s=10)
    assert await store.acquire_lease("ses_1", "a", ttl_s=10)
    clock.move(11)
    assert await store.acquire_lease("ses_1", "b", ttl_s=10)


async def test_only_its_holder_gives_a_lease_back(store: SqlStore) -> None:
    await store.append("ses_1", [STARTED], expected_seq=0)
    await store.acquire_lease("ses_1", "a", ttl_s=10)
    await store.release_lease("ses_1", "b")
    assert not await store.acquire_lease("ses_1", "b", ttl_s=10)
    await store.release_lease("ses_1", "a")
    assert await store.acquire_lease("ses_1", "b", ttl_s=10)


async def test_of_many_who_want_a_lease_at_once_one_gets_it(store: SqlStore) -> None:
    await store.append("ses_1", [STARTED], expected_seq=0)
    got = await asyncio.gather(*(store.acquire_lease("ses_1", f"h{n}", ttl_s=10) for n in range(12)))
    assert got.count(True) == 1


async def test_a_turn_is_found_by_its_idempotency_key_in_its_session_only(store: SqlStore) -> None:
    await store.append("ses_1", [STARTED, turn("t1", "k1")], expected_seq=0)
    await store.append("ses_2", [replace(STARTED, session_id="ses_2")], expected_seq=0)
    assert await store.turn_by_key("ses_1", "k1") == "t1"
    assert await store.turn_by_key("ses_1", "k2") is None
    assert await store.turn_by_key("ses_2", "k1") is None


async def test_an_intent_is_written_once_and_its_first_record_stands(store: SqlStore, clock: SetClock) -> None:
    first = record("key-1", clock)
    assert await store.intend(first) == first
    await store.settle(replace(first, status=ActionStatus.DONE, result={"refund_id": "RF-1"}))
    again = await store.intend(record("key-1", clock))
    assert again.status is ActionStatus.DONE
    assert again.result == {"refund_id": "RF-1"}


async def test_of_intents_at_once_each_sees_those_before_it(store: SqlStore, clock: SetClock) -> None:
    def permits(spent: Sequence[ActionRecord]) -> bool:
        return sum(line.amount_cents or 0 for line in spent) + 2490 <= 3 * 2490

    wanted = [record(f"key-{number}", clock) for number in range(12)]
    stored = await asyncio.gather(*(store.intend(each, permits=permits) for each in wanted))
    assert sum(each.status is ActionStatus.INTENDED for each in stored) == 3
    assert sum(each.status is ActionStatus.FAILED for each in stored) == 9


async def test_a_failed_line_is_intended_anew_and_asked_for_again(store: SqlStore, clock: SetClock) -> None:
    await store.intend(record("key-1", clock), permits=lambda spent: False)
    again = await store.intend(record("key-1", clock), permits=lambda spent: not spent)
    assert (again.status, await store.unsettled()) == (ActionStatus.INTENDED, (again,))


async def test_lines_before_the_look_back_are_not_shown(store: SqlStore, clock: SetClock) -> None:
    await store.intend(record("old", clock, status=ActionStatus.DONE))
    clock.move(10)
    new = record("new", clock)
    assert await store.intend(new, permits=lambda spent: not spent, since=clock.now()) == new


async def test_a_customers_actions_count_from_the_intent_on_and_failed_ones_do_not(store: SqlStore, clock: SetClock) -> None:
    for key, status in (
        ("a", ActionStatus.INTENDED),
        ("b", ActionStatus.DONE),
        ("c", ActionStatus.FAILED),
        ("d", ActionStatus.UNKNOWN),
    ):
        await store.intend(record(key, clock, status=status))
    await store.intend(record("e", clock, customer="C-002"))
    counted = await store.actions("C-001", since=clock.now() - timedelta(days=7))
    assert {each.key for each in counted} == {"a", "b", "d"}
    assert {each.key for each in await store.unsettled()} == {"a", "d", "e"}


async def test_actions_before_the_window_do_not_count(store: SqlStore, clock: SetClock) -> None:
    await store.intend(record("old", clock, status=ActionStatus.DONE))
    clock.move(8 * 86400)
    assert await store.actions("C-001", since=clock.now() - timedelta(days=7)) == ()


async def test_promised_handoffs_come_the_most_urgent_first(store: SqlStore, clock: SetClock) -> None:
    await store.append("ses_1", [STARTED], expected_seq=0)
    late, soon = (Handoff(n, "ses_1", "asked", "desk", clock.now() + timedelta(hours=h)) for n, h in (("h1", 8), ("h2", 1)))
    await store.append("ses_1", [HandoffRaised("t1", late), HandoffRaised("t1", soon)], expected_seq=1)
    assert [each.handoff for each in await HandoffStore(store.engine).listed(tenant=None)] == [soon, late]


async def test_opening_again_keeps_what_was_written(database_url: str, clock: SetClock) -> None:
    for expected in (0, 1):
        store = await SqlStore.open(database_url, clock, Signer("secret"))
        if not expected:
            await store.append("ses_1", [STARTED], expected_seq=0)
        assert len(await store.events("ses_1")) == 1
        await store.close()


async def test_a_database_that_is_not_there_is_said_to_be(clock: SetClock) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        await SqlStore.open("postgresql+psycopg://nobody@127.0.0.1:1/none", clock, Signer("secret"))
    assert "KEEPWORD_DATABASE_URL" in raised.value.hint


async def test_a_turn_opens_once_and_holds_the_session_until_it_is_released(store: SqlStore) -> None:
    [started] = await store.append("ses_1", [STARTED], expected_seq=0)
    first = await store.open_turn("ses_1", [turn("t1", "k1")], expected_seq=1, expected_hash=started.hash, ttl_s=10)
    assert [each.seq for each in first.stored] == [2]
    assert (await store.open_turn("ses_1", [turn("t2", "k1")], expected_seq=2, expected_hash="", ttl_s=10)).repeats == "t1"
    with pytest.raises(TurnInProgress):
        await store.open_turn("ses_1", [turn("t2")], expected_seq=2, expected_hash=first.stored[0].hash, ttl_s=10)
    [said] = await store.append("ses_1", [ReplySentence("t1", 0, "x", "pack")], expected_seq=2, release="t1")
    second = await store.open_turn("ses_1", [turn("t2")], expected_seq=3, expected_hash=said.hash, ttl_s=10)
    assert [each.seq for each in second.stored] == [4]


async def test_a_turn_on_an_old_end_is_told_what_it_missed_and_takes_nothing(store: SqlStore) -> None:
    [started] = await store.append("ses_1", [STARTED], expected_seq=0)
    [said] = await store.append("ses_1", [ReplySentence("t0", 0, "x", "pack")], expected_seq=1)
    behind = await store.open_turn("ses_1", [turn("t1")], expected_seq=1, expected_hash=started.hash, ttl_s=10)
    assert behind.missed == (said,)
    forged = await store.open_turn("ses_1", [turn("t1")], expected_seq=2, expected_hash="f" * 64, ttl_s=10)
    assert forged.missed == (said,)
    assert await store.acquire_lease("ses_1", "somebody", ttl_s=10)


async def test_of_many_turns_opened_at_once_one_begins(store: SqlStore) -> None:
    [started] = await store.append("ses_1", [STARTED], expected_seq=0)
    opening = (
        store.open_turn("ses_1", [turn(f"t{n}")], expected_seq=1, expected_hash=started.hash, ttl_s=10) for n in range(8)
    )
    results = await asyncio.gather(*opening, return_exceptions=True)
    assert sum(isinstance(each, TurnInProgress) for each in results) == 7
    assert [each.seq for each in await store.events("ses_1")] == [1, 2]


async def test_an_append_that_knows_another_hash_is_refused(store: SqlStore) -> None:
    await store.append("ses_1", [STARTED], expected_seq=0)
    with pytest.raises(TurnInProgress):
        await store.append("ses_1", [turn("t1")], expected_seq=1, expected_hash="f" * 64)


async def test_many_sessions_at_once_all_have_their_logs_whole(store: SqlStore) -> None:
    async def one(number: int) -> None:
        session_id = f"ses_{number}"
        [last] = await store.append(session_id, [replace(STARTED, session_id=session_id)], expected_seq=0)
        for index in range(3):
            said = ReplySentence(f"t{number}", index, "好的。", "pack")
            [last] = await store.append(session_id, [said], expected_seq=last.seq, expected_hash=last.hash)
        assert await store.audit(session_id, Signer("secret").verifier) == []

    await asyncio.gather(*map(one, range(40)))
    assert await store.last_seqs([f"ses_{number}" for number in range(40)]) == {f"ses_{number}": 4 for number in range(40)}
