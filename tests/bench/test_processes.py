"""What a benchmark reads of its own process."""

import multiprocessing
import os
import time

from bench.processes import queued_s


def test_waiting_for_a_core_another_one_has_is_counted() -> None:
    core, spawn = min(os.sched_getaffinity(0)), multiprocessing.get_context("spawn")
    rival = spawn.Process(target=_work, args=(core, 60.0), daemon=True)
    allowed, before = os.sched_getaffinity(0), queued_s()
    rival.start()
    try:
        os.sched_setaffinity(0, {core})
        began = time.monotonic()
        while queued_s() - before < 0.05 and time.monotonic() - began < 30.0:
            pass
    finally:
        os.sched_setaffinity(0, allowed)
        rival.kill()
        rival.join()
    assert queued_s() - before >= 0.05


def _work(core: int, seconds: float) -> None:
    os.sched_setaffinity(0, {core})
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
