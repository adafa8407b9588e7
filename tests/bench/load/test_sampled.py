"""Whose CPU time it is: stacks shared out by hand-made samples, and a live process looked at from outside."""

import asyncio
import subprocess
import sys

import pytest

from bench.load.sampled import EMBEDDER, NATIVE, RAY, as_detail, sample, shared_out

STACKS = (
    "thread (7): MainThread;<module> (/x/ray/_private/worker.py:9);"
    "handle (/x/ray/serve/_private/replica.py:20);turn (/repo/agents/turn.py:7) 50",
    "thread (7): MainThread;<module> (/x/ray/_private/worker.py:9);"
    "turn (/repo/agents/turn.py:9);remote (/x/ray/serve/handle.py:3) 30",
    "thread (8): search_0;run (/usr/lib/python3.11/threading.py:1);embed (/repo/retrieval/embedding.py:30);"
    "run (/x/onnx/session.py:2) 20",
    "thread (9): Thread-1 (_poll_wrapper);run (/usr/lib/python3.11/threading.py:1) 40",
)


def test_the_innermost_frame_that_is_known_decides_and_native_threads_are_rays() -> None:
    told = shared_out(STACKS, before={1: 1.0, 2: 0.0}, after={1: 9.0, 2: 2.0}, python={1})
    assert told.rooms == {"agents": 4.0, RAY: 2.4, EMBEDDER: 1.6, NATIVE: 2.0}
    assert told.not_ours == pytest.approx(0.6)
    assert as_detail(told, 20.0)["cpu_ms_a_turn"]["agents"] == 8.0


def test_without_samples_nothing_is_said() -> None:
    assert as_detail(None, 20.0) == {"known": False}


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
