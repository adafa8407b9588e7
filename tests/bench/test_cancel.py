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
