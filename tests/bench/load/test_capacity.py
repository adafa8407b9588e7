"""When a trial is given up, and what a search tells."""

import asyncio
from dataclasses import replace
from typing import Any

from aiohttp import web

from bench.load.capacity import Sizes, hopeless, result, run
from bench.load.figures import Window
from bench.load.place import Place
from bench.load.plan import Arrivals, LoadPlan, Slo
from bench.load.search import Found, Tried
from tests.bench.load.desks import Desk, answer, running, whole

PLAN = LoadPlan(
    "http://127.0.0.1:1", arrivals=Arrivals(rate_per_s=10.0), duration_s=30, warmup_s=10, slo=Slo(share=0.9), processes=2
)


def window(worker: int, *, good: int, measured: int, overdue: int = 0) -> Window:
    return Window(worker, 10.0, 11.0, {"good": good, "measured": measured}, {}, 5, 5, overdue, 0.1)


def test_a_trial_is_given_up_when_more_turns_are_bad_than_the_whole_of_it_may_have() -> None:
    """200 turns are expected, 20 of them may be bad; half as many again may be diluted."""
    assert not hopeless(PLAN, [window(0, good=0, measured=14), window(1, good=0, measured=15)])
    assert hopeless(PLAN, [window(0, good=0, measured=16), window(1, good=0, measured=15)])


def test_turns_that_are_overdue_count_once_however_often_they_are_told() -> None:
    told = [window(0, good=5, measured=5, overdue=20) for _ in range(10)]
    assert not hopeless(PLAN, told)
    assert hopeless(PLAN, [*told, window(1, good=5, measured=5, overdue=11)])


def test_a_small_trial_is_not_given_up_for_one_bad_turn() -> None:
    assert not hopeless(replace(PLAN, arrivals=Arrivals(rate_per_s=0.1)), [window(0, good=0, measured=1)])


def tried(rate: float, *, met: bool, limited: bool = False) -> Tried[dict[str, Any]]:
    seen = {
        "stopped_early": False,
        "errors": {},
        "generator_is_the_bottleneck": limited,
        "generator_share": 0.1,
        "turn_p50_s": 0.1,
        "turn_p99_s": 0.2,
        "first_sentence_p99_s": 0.1,
        "goodput_per_s": rate,
    }
    return Tried(rate, met, seen)


def test_a_limit_set_by_the_generator_is_no_capacity() -> None:
    where = Place("http://127.0.0.1:1", None, "simulated:instant")
    found = Found((10.0, 10.5), (tried(8.0, met=True), tried(16.0, met=False, limited=True)))
    told = result(found, PLAN, where, Sizes())
    assert told.bars["misses_by_the_generator"].ok is False
    assert told.bars["capacity_turns_per_s"].value == 10.25
    assert [each["title"] for each in told.detail["series"]] == ["Latency over load", "Goodput over load"]


def test_no_capacity_at_all_falls_short() -> None:
    told = result(Found((), (tried(1.0, met=False),)), PLAN, Place("http://127.0.0.1:1", None, "x"), Sizes())
    assert not told.ok
    assert told.bars["capacity_turns_per_s"].value == 0.0


async def test_a_desk_that_refuses_above_a_rate_has_that_capacity() -> None:
    """Refusals decide, not times: whoever comes sooner than a tenth of a second after the one before is told to come later."""
    last_s = [0.0]

    async def choosy(_desk: Desk, request: web.Request, _number: int) -> web.StreamResponse:
        now_s = asyncio.get_running_loop().time()
        before_s, last_s[0] = last_s[0], now_s
        if now_s - before_s < 0.1:
            return web.json_response({}, status=429, headers={"Retry-After": "1"})
        return await answer(request, whole())

    sizes = Sizes(trial_s=2.0, warmup_share=0.1, repeats=1, precision=0.5, lowest_per_s=5.0, highest_per_s=40.0)
    async with running(choosy) as desk:
        slo = Slo(first_s=30.0, turn_s=30.0, share=0.5)
        plan = LoadPlan(desk.url, arrivals=Arrivals("steady"), slo=slo, window_s=0.5, processes=1)
        told = await run(plan, Place(desk.url, None, "fake"), sizes)
    assert 5.0 < told.bars["capacity_turns_per_s"].value < 20.0
    assert told.bars["errors_while_met"].ok
    assert [trial["met"] for trial in told.detail["trials"]][:1] == [True]
    assert not any(trial["met"] for trial in told.detail["trials"] if trial["rate_per_s"] >= 20.0)
