"""The one shape of every result, and the judgement in it."""

import json

import pytest

from bench.result import BenchResult, bar, quantile, show


def test_a_bar_is_judged_before_it_is_rounded() -> None:
    assert not bar(0.919999, 0.92, ">=").ok
    assert bar(0.92, 0.92, ">=").ok
    assert not bar(5.00001, 5.0).ok


def test_a_result_is_ok_only_when_every_bar_is() -> None:
    assert BenchResult("x", {"a": bar(1, 2), "b": bar(1, None)}, {}).ok
    assert not BenchResult("x", {"a": bar(3, 2)}, {}).ok


def test_json_output_is_one_object_with_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    show(BenchResult("x", {"a": bar(1, 2)}, {"说明": 1}), as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"name", "machine", "bars", "detail"}
    assert printed["bars"]["a"] == {"value": 1, "limit": 2, "ok": True}


def test_quantiles_are_by_nearest_rank_and_zero_for_nothing() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0, 9.0], 0.99) == 9.0
    assert quantile([], 0.5) == 0.0
