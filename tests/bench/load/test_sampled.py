"""Whose CPU time it is: stacks shared out by hand-made samples, and a live process looked at from outside."""

import asyncio
import subprocess
import sys

import pytest

from bench.cost.profile import SEARCH
from bench.load.sampled import EMBEDDER, NATIVE, RAY, UNSEEN, as_detail, sample, shared_out

STACKS = (
    "thread (7): AsyncIO Thread: default;<module> (/x/ray/_private/worker.py:9);"
    "handle (/x/ray/serve/_private/replica.py:20);turn (/repo/agents/turn.py:7) 50",
    "thread (7): AsyncIO Thread: default;<module> (/x/ray/_private/worker.py:9);"
    "turn (/repo/agents/turn.py:9);remote (/x/ray/serve/handle.py:3) 30",
    "thread (8): search_0;run (/usr/lib/python3.11/threading.py:1);embed (/repo/retrieval/embedding.py:30) 900",
    "thread (9): Thread-1 (_poll_wrapper);run (/usr/lib/python3.11/threading.py:1) 40",
)
NAMES = {7: "AsyncIO Thread: default", 8: "search_0", 9: "Thread-1 (_poll_wrapper)", 10: "log-writer-0", 11: "MainThread"}


def test_each_threads_own_time_is_shared_out_and_native_threads_are_rays() -> None:
    before = {6: 0.0, 7: 1.0, 8: 0.0}
    after = {6: 2.0, 7: 9.0, 8: 3.0, 9: 0.5, 10: 2.0, 11: 0.1}
    told = shared_out(STACKS, before, after, NAMES)
    assert told.rooms == {
        "agents": pytest.approx(5.0),
        RAY: pytest.approx(3.5),
        SEARCH: pytest.approx(3.0),
        "store's threads": pytest.approx(2.0),
        NATIVE: pytest.approx(2.0),
        UNSEEN: pytest.approx(0.1),
    }
    rooms = told.by_room(31.2, embedding_ms=4.0)
    assert rooms["agents"] == pytest.approx(10.0)
    assert rooms[SEARCH] == pytest.approx(2.0)
    assert rooms[EMBEDDER] == 4.0
    assert as_detail(told, 31.2, 4.0)["cpu_ms_a_turn"]["agents"] == 10.0


def test_without_samples_nothing_is_said() -> None:
    assert as_detail(None, 20.0, 1.0) == {"known": False}


def test_a_process_that_computes_is_seen_from_outside() -> None:
    body = "print('up', flush=True)\nwhile True: sum(range(1000))"
    with subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            told = asyncio.run(sample(process.pid, 1.0))
        finally:
            process.kill()
    assert told is not None
    assert 0.3 < sum(told.rooms.values()) < 3.0
    assert told.rooms[NATIVE] < 0.2
