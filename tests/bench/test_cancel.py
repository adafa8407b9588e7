"""Clients that leave a small server over HTTP: each is gone from the model, also one that never read a token."""

import pytest

from bench.cancel.run import QUICK_TRIALS, Left, result, run


async def test_clients_that_leave_free_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cancel.run.TOGETHER", 3)  # so that the streams beside them begin anew
    told = await run(seed=3, quick=True, model="qwen2.5-coder-0.5b")
    assert told.bars["never_freed"].ok, told.as_dict()
    assert told.detail["clients"] == QUICK_TRIALS
    assert told.bars["freed_p99_ms"].limit == 200.0


def test_a_client_that_stays_in_the_engine_falls_short() -> None:
    bars = result([Left(0.1, True, 0.02), Left(0.1, False, 10.0)]).bars
    assert not bars["never_freed"].ok
    assert not bars["freed_p99_ms"].ok


def test_a_late_watch_is_set_aside_but_not_for_many() -> None:
    on_time, late = Left(0.1, True, 0.02, 0.001), Left(0.1, True, 3.0, 2.9)
    few = result([on_time] * 39 + [late])
    assert all(bar.ok for bar in few.bars.values())
    assert (few.detail["freed_ms"]["max"], few.detail["freed_ms_with_those_set_aside"]["max"]) == (20.0, 3000.0)
    assert not result([on_time] * 9 + [late]).bars["set_aside_share"].ok
    assert not result([late]).bars["set_aside_share"].ok


def test_a_client_that_is_never_freed_is_not_set_aside() -> None:
    bars = result([Left(0.1, True, 0.02)] * 50 + [Left(0.1, True, 10.0, 9.0)]).bars
    assert not bars["never_freed"].ok
    assert bars["set_aside_share"].ok
