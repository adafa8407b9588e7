"""Keys: what is kept opens nothing, what is revoked opens nothing, and a check asks the database once in a while."""

from dataclasses import replace

import pytest

from agents.domain.errors import NotAllowed
from serving.admission.keys import BELIEVED_S, CACHED, ApiKeys, KeyRecord, new_key
from serving.admission.tickets import Priority, Scope, priority_of
from tests.fakes import SetClock


class Keys:
    """A KeyStore in memory that counts how often it is asked."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.asked = 0

    def make(self, *scopes: Scope) -> tuple[str, str]:
        key, key_id, digest = new_key()
        self.records[key_id] = KeyRecord(key_id, digest, "acme", "alice", frozenset(scopes))
        return key, key_id

    async def find(self, key_id: str) -> KeyRecord | None:
        self.asked += 1
        return self.records.get(key_id)


async def test_a_key_speaks_for_its_tenant_with_its_scopes() -> None:
    store = Keys()
    key, key_id = store.make(Scope.TURNS)
    caller = await ApiKeys(store, SetClock().monotonic).caller(key)
    assert (caller.tenant, caller.name, caller.key_id, caller.scopes) == ("acme", "alice", key_id, frozenset({Scope.TURNS}))
    assert caller.may(Scope.TURNS)
    assert not caller.may(Scope.CHAT)


@pytest.mark.parametrize("wrong", ["", "kw_", "kw_0123456789ab_short", "sk-something", "kw_0123456789ab_" + "A" * 43])
async def test_what_is_no_key_opens_nothing(wrong: str) -> None:
    with pytest.raises(NotAllowed):
        await ApiKeys(Keys(), SetClock().monotonic).caller(wrong)


async def test_neither_the_digest_nor_another_secret_under_the_id_opens_anything() -> None:
    store = Keys()
    key, key_id = store.make(Scope.TURNS)
    checks = ApiKeys(store, SetClock().monotonic)
    for wrong in (f"kw_{key_id}_{store.records[key_id].digest[:43]}", key[:-1] + ("A" if key[-1] != "A" else "B")):
        with pytest.raises(NotAllowed):
            await checks.caller(wrong)


async def test_a_revocation_holds_when_what_was_known_is_no_longer_believed() -> None:
    store, clock = Keys(), SetClock()
    checks = ApiKeys(store, clock.monotonic)
    key, key_id = store.make(Scope.TURNS)
    for _ in range(100):
        await checks.caller(key)
    assert store.asked == 1
    store.records[key_id] = replace(store.records[key_id], revoked=True)
    clock.move(BELIEVED_S)
    for check in (checks.caller(key), checks.holder(key_id)):
        with pytest.raises(NotAllowed):
            await check


async def test_keys_that_are_none_do_not_fill_the_memory() -> None:
    checks = ApiKeys(Keys(), SetClock().monotonic)
    for number in range(CACHED + 50):
        with pytest.raises(NotAllowed):
            await checks.caller(f"kw_{number:012x}_" + "A" * 43)
    assert len(checks._cache) == CACHED


def test_a_keys_place_in_the_queue_follows_from_its_scopes() -> None:
    assert priority_of([Scope.TURNS]) is Priority.CUSTOMER
    assert priority_of([Scope.TURNS, Scope.OPERATOR]) is Priority.OPERATOR
    assert priority_of([Scope.CHAT, Scope.BATCH]) is Priority.BATCH
