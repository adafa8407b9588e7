"""The quick run: its figures say little, its shape and its counts must hold."""

import random

from bench.fairness.load import FLOOD, TENANTS, Measured, Round, Turn, arrivals
from bench.fairness.run import run


async def test_the_quick_run_answers_both_questions_over_http_and_in_virtual_time() -> None:
    result = await run(quick=True)
    assert {"others_p99_with_flood_over_without_http", "goodput_at_3x_over_peak_http"} < set(result.bars)
    assert {"others_p99_with_flood_over_without_virtual", "goodput_at_3x_over_peak_virtual"} < set(result.bars)
    for place in ("http", "virtual"):
        both = result.detail[place]["fair"][0]
        assert both["with"]["turns"] > both["without"]["turns"] > 0
        statuses = {status for part in result.detail[place]["overload"][0] for status in part["status"]}
        assert statuses <= {"200", "429"}


def test_a_flood_moves_none_of_the_others_arrivals() -> None:
    calm = dict.fromkeys(TENANTS, 1.0)
    without = [each for each in arrivals(calm, 50, random.Random(1)) if each[1] != FLOOD]
    assert [each for each in arrivals(calm | {FLOOD: 10.0}, 50, random.Random(1)) if each[1] != FLOOD] == without


def test_what_was_not_answered_took_for_ever_and_is_no_goodput() -> None:
    turns = [Turn("t1", 200, 1.0), Turn("t1", 429, 0.1), Turn("t2", 200, 6.0), Turn(FLOOD, 200, 1.0)]
    one = Round(turns, 2.0)
    assert one.others() == [1.0, float("inf"), 6.0]
    assert one.goodput() == 1.0
    measured = Measured(1.0, fair=[(one, one)], overload=[[one, Round(turns[1:3], 2.0)]])
    bars = measured.bars("here")
    assert not bars["goodput_at_3x_over_peak_here"].ok
