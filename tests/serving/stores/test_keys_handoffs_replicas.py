"""API keys, claims and replicas, on both databases."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from agents.domain.errors import BadInput, HandoffTaken, NotFound, TurnInProgress
from agents.domain.events import HandoffClosed, HandoffRaised, OperatorReplied, SessionStarted
from agents.domain.words import Handoff
from serving.admission.keys import KeyRecord, new_key
from serving.admission.tickets import Caller, Limits, Scope
from serving.operators import Operators
from serving.stores.api_keys import ApiKeyStore
from serving.stores.handoffs import HandoffStore
from serving.stores.replicas import ALIVE_S, Replicas
from serving.stores.sql import SqlStore
from tests.fakes import SetClock

ALICE, BOB = (Caller("", frozenset({Scope.OPERATOR}), name=name) for name in ("alice", "bob"))
OF_ACME, OF_OTHER = (Caller(tenant, frozenset({Scope.OPERATOR}), name="alice") for tenant in ("acme", "other"))


def record(name: str = "alice", tenant: str = "acme") -> KeyRecord:
    _, key_id, digest = new_key()
    limits = Limits(4, 60_000, 2.5)
    return KeyRecord(key_id, digest, tenant, name, frozenset({Scope.TURNS, Scope.CHAT}), limits)


async def promised(store: SqlStore, clock: SetClock, *, tenant: str = "acme") -> Operators:
    """A session of a tenant with handoff h1."""
    started = SessionStarted("ses_1", "shop", "C-001", "en", tenant=tenant)
    handoff = Handoff("h1", "ses_1", "asked", "desk", clock.now() + timedelta(hours=1))
    await store.append("ses_1", [started, HandoffRaised("t1", handoff)], expected_seq=0)
    return Operators(store, HandoffStore(store.engine))


async def test_a_key_comes_back_as_it_was_made(store: SqlStore, clock: SetClock) -> None:
    keys, made = ApiKeyStore(store.engine), record()
    await keys.add(made)
    found = await keys.find(made.id)
    assert found is not None
    assert (found.digest, found.tenant, found.scopes, found.limits) == (made.digest, "acme", made.scopes, made.limits)
    assert await keys.find("000000000000") is None


async def test_a_time_of_another_zone_comes_back_as_the_same_moment_in_utc(store: SqlStore) -> None:
    keys, made_at = ApiKeyStore(store.engine), datetime(2026, 3, 1, 4, 30, tzinfo=timezone(timedelta(hours=8)))
    await keys.add(replace(record(), created_at=made_at))
    (found,) = await keys.all()
    assert found.created_at == made_at
    assert found.created_at.utcoffset() == timedelta(0)


async def test_a_name_is_free_again_when_its_key_is_revoked(store: SqlStore, clock: SetClock) -> None:
    keys, first = ApiKeyStore(store.engine), record()
    await keys.add(first)
    await keys.add(record(tenant="other"))
    with pytest.raises(BadInput):
        await keys.add(record())
    assert (await keys.revoke(first.id, clock.now())).revoked
    await keys.add(record())
    assert [each.revoked for each in await keys.all() if each.tenant == "acme"].count(True) == 1
    with pytest.raises(NotFound):
        await keys.revoke("000000000000", clock.now())


async def test_of_many_operators_who_claim_at_once_one_gets_it(store: SqlStore, clock: SetClock) -> None:
    operators = await promised(store, clock)
    callers = [Caller("", frozenset({Scope.OPERATOR}), name=f"op{number}") for number in range(8)]
    results = await asyncio.gather(*(operators.claim("h1", each) for each in callers), return_exceptions=True)
    won = [each for each in results if not isinstance(each, BaseException)]
    assert len(won) == 1
    assert all(isinstance(each, HandoffTaken | TurnInProgress) for each in results if isinstance(each, BaseException))
    assert (await operators.handoffs.find("h1")).claimed_by == won[0].claimed_by


async def test_only_who_claimed_it_answers_and_closes_and_a_closed_one_is_gone(store: SqlStore, clock: SetClock) -> None:
    operators = await promised(store, clock)
    with pytest.raises(HandoffTaken):
        await operators.reply("h1", ALICE, "hello")
    await operators.claim("h1", ALICE)
    await operators.claim("h1", ALICE)
    for call in (operators.claim("h1", BOB), operators.reply("h1", BOB, "hello"), operators.close("h1", BOB)):
        with pytest.raises(HandoffTaken):
            await call
    await operators.reply("h1", ALICE, "We have found it.", key="k1")
    await operators.reply("h1", ALICE, "We have found it.", key="k1")
    await operators.close("h1", ALICE)
    await operators.close("h1", ALICE)
    with pytest.raises(HandoffTaken):
        await operators.reply("h1", ALICE, "one more")
    events = [each.event for each in await store.events("ses_1")]
    assert [type(each).__name__ for each in events[2:]] == ["HandoffClaimed", "OperatorReplied", "HandoffClosed"]
    assert await operators.listed(ALICE) == []
    assert [each.closed_at is not None for each in await operators.listed(ALICE, closed=True)] == [True]


async def test_a_tenants_operators_see_only_its_handoffs(store: SqlStore, clock: SetClock) -> None:
    operators = await promised(store, clock)
    assert [each.tenant for each in await operators.listed(OF_ACME)] == ["acme"]
    assert await operators.listed(OF_OTHER) == []
    with pytest.raises(NotFound):
        await operators.claim("h1", OF_OTHER)


async def test_an_event_that_may_not_be_leaves_no_trace_in_the_log(store: SqlStore, clock: SetClock) -> None:
    await promised(store, clock)
    with pytest.raises(HandoffTaken):
        await store.append("ses_1", [OperatorReplied("h1", "bob", "x"), HandoffClosed("h1", "bob")], expected_seq=2)
    assert len(await store.events("ses_1")) == 2


async def test_an_operator_waits_for_the_turn_that_runs(store: SqlStore, clock: SetClock) -> None:
    operators = await promised(store, clock)
    await store.acquire_lease("ses_1", "turn_1", ttl_s=30)
    with pytest.raises(TurnInProgress):
        await operators.claim("h1", ALICE)
    await store.release_lease("ses_1", "turn_1")
    assert (await operators.claim("h1", ALICE)).claimed_by == "alice"


async def test_replicas_share_among_those_that_live(store: SqlStore, clock: SetClock) -> None:
    told: list[float] = []
    one, other = (Replicas(store.engine, clock, told.append) for _ in range(2))
    assert await one.beat() == 1
    assert await other.beat() == 2
    clock.move(ALIVE_S / 2)
    assert await one.beat() == 2
    clock.move(ALIVE_S)
    assert await one.beat() == 1  # the other died without a word
    await other.beat()
    await other.leave()
    assert await one.beat() == 1
    assert told == [1.0, 0.5, 0.5, 1.0, 0.5, 1.0]
