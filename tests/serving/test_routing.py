"""Sticky, but not stuck: the order of replicas for a key, and what keys requests have."""

import pickle
from collections import Counter

import pytest

from agents.ports import Message, ModelRequest
from serving.routing import affinity_key, ranked

REPLICAS = tuple(f"replica-{number}" for number in range(8))
IDLE = dict.fromkeys(REPLICAS, 0)


def test_a_key_has_the_same_order_whoever_asks() -> None:
    backwards = dict.fromkeys(reversed(REPLICAS), 0)
    assert ranked("ses_1", IDLE) == ranked("ses_1", backwards)


def test_keys_are_spread_evenly() -> None:
    firsts = Counter(ranked(f"ses_{number}", IDLE)[0] for number in range(8000))
    assert set(firsts) == set(REPLICAS)
    assert max(firsts.values()) < 1.15 * 1000


def test_a_replica_that_is_gone_moves_only_its_own_keys() -> None:
    left = {replica: 0 for replica in REPLICAS if replica != "replica-3"}
    keys = [f"ses_{number}" for number in range(500)]
    before = {key: ranked(key, IDLE)[0] for key in keys}
    after = {key: ranked(key, left)[0] for key in keys}
    assert {key for key in keys if before[key] != after[key]} == {key for key in keys if before[key] == "replica-3"}


def test_no_replica_gets_more_than_its_bound_however_hot_a_key_is() -> None:
    loads = dict(IDLE)
    for _ in range(800):
        loads[ranked("one hot prompt", loads)[0]] += 1
    assert max(loads.values()) <= 1.25 * 100 + 1


def test_few_requests_are_no_reason_to_move() -> None:
    first = ranked("ses_1", IDLE)[0]
    assert ranked("ses_1", IDLE | {first: 3}, slack=4)[0] == first
    assert ranked("ses_1", IDLE | {first: 4}, slack=4)[0] != first


def test_a_full_replica_is_tried_last() -> None:
    first = ranked("ses_1", IDLE)[0]
    order = ranked("ses_1", IDLE | {first: 50})
    assert order[-1] == first
    assert sorted(order) == sorted(REPLICAS)


@pytest.mark.parametrize(
    ("session_id", "argument", "key"),
    [
        ("ses_9", None, "ses_9"),
        ("", pickle.dumps({"path": "/v1/sessions/ses_0a1b/turns"}), "ses_0a1b"),
        ("", pickle.dumps({"path": "/v1/sessions"}), None),
        ("", 7, None),
    ],
)
def test_the_key_of_a_request_is_its_session(session_id: str, argument: object, key: str | None) -> None:
    assert affinity_key(session_id, argument) == key


def test_without_a_session_the_beginning_of_the_prompt_is_the_key() -> None:
    def asked(end: str) -> ModelRequest:
        return ModelRequest((Message("system", "You work at the desk. " * 60), Message("user", end)), max_tokens=1)

    assert affinity_key("", asked("hello")) == affinity_key("", asked("good bye"))
    other = ModelRequest((Message("user", "hello"),), max_tokens=1)
    assert affinity_key("", other) != affinity_key("", asked("hello"))
