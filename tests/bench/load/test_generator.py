"""The generator, with its real worker processes, against desks that behave and that do not."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web

from bench.load.figures import Window
from bench.load.generator import GeneratorFailed, seated
from bench.load.measure import as_detail, measure
from bench.load.plan import Arrivals, LoadPlan, Think
from tests.bench.load.desks import Desk, answer, prompt, running, whole

SMALL = LoadPlan(
    "http://127.0.0.1:1",
    arrivals=Arrivals("steady", 20.0),
    customers=6,
    think=Think(0.05),
    duration_s=1.5,
    warmup_s=0.0,
    drain_s=5.0,
    window_s=0.5,
)


async def test_an_open_loop_sends_every_turn_from_several_processes_and_hears_every_end() -> None:
    async with running(prompt) as desk:
        measured = await measure(replace(SMALL, url=desk.url, processes=2, tenants={"north": 1.0, "south": 1.0}), None)
    detail = as_detail(measured)
    assert detail["turns"] == {"sent": 30, "warmup": 0, "measured": 30, "ok": 30}
    assert measured.errors == {}
    assert sum(measured.accepted.values()) == 30 == desk.turns
    assert measured.figures.counts["usage_llm_calls"] == 60
    assert set(desk.tenants) == {"north", "south"}
    assert set(desk.locales) == {"en", "zh"}
    assert len(set(desk.keys)) == 30, "every turn has an idempotency key of its own"


async def test_a_stall_is_felt_by_everybody_who_meant_to_come_meanwhile() -> None:
    """Coordinated omission: a client that waits before it sends again would report one slow turn of 60, a p90 of nothing."""
    until: list[float] = []

    async def stalling(_desk: Desk, request: web.Request, number: int) -> web.StreamResponse:
        clock = asyncio.get_running_loop().time
        if number == 10:
            until.append(clock() + 1.0)
        await asyncio.sleep(until[0] - clock() if until and until[0] > clock() else 0)
        return await answer(request, whole())

    async with running(stalling) as desk:
        measured = await measure(replace(SMALL, url=desk.url, duration_s=3.0), None)
    slow = measured.figures.histograms["turn"]
    assert slow.get_total_count() == 60
    assert measured.figures.at("turn", 0.9) > 0.5
    assert measured.figures.at("turn", 0.5) < 0.5


async def test_a_closed_loop_never_has_more_under_way_than_customers() -> None:
    most = now = 0

    async def counting(_desk: Desk, request: web.Request, _number: int) -> web.StreamResponse:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.03)
        now -= 1
        return await answer(request, whole())

    plan = replace(SMALL, arrivals=Arrivals("closed"), think=Think(0.0), max_turns=80)
    async with running(counting) as desk:
        measured = await measure(replace(plan, url=desk.url), None)
    assert most == 6
    assert measured.figures.counts["sent"] == 80, "a load of so many turns ends with them"
    assert measured.elapsed_s < 1.5


async def test_visits_arrive_and_are_played_to_their_end() -> None:
    plan = replace(SMALL, arrivals=Arrivals("poisson", 40.0, of="visits"), customers=1, think=Think(0.01), duration_s=2.0)
    async with running(prompt) as desk:
        measured = await measure(replace(plan, url=desk.url), None)
    assert measured.errors == {}
    assert len(desk.sessions) > 10
    assert desk.turns > 1.5 * len(desk.sessions)


async def refusing(_desk: Desk, request: web.Request, number: int) -> web.StreamResponse:
    """Every other turn is told to come back."""
    if number % 2:
        return await answer(request, whole())
    return web.json_response({"type": "urn:keepword:overloaded"}, status=429, headers={"Retry-After": "0"})


async def test_a_429_is_no_error_and_is_tried_again_in_time_with_its_key_when_honoured() -> None:
    plan = replace(SMALL, arrivals=Arrivals("closed"), customers=1, think=Think(0.0), max_turns=10)
    async with running(refusing) as desk:
        honoured = await measure(replace(plan, url=desk.url, retry_after="honour"), None)
    assert honoured.errors == {}
    assert as_detail(honoured)["refused_429"] == 10
    assert honoured.figures.counts["kind_ok"] == 10
    assert desk.keys[0] == desk.keys[1], "the same turn"
    async with running(refusing) as desk:
        ignored = await measure(replace(plan, url=desk.url, retry_after="ignore"), None)
    assert (ignored.figures.counts["kind_ok"], ignored.figures.counts["kind_refused"]) == (5, 5)
    assert ignored.good_share == 0.5


async def test_every_way_to_fail_has_a_name() -> None:
    async def failing(_desk: Desk, request: web.Request, number: int) -> web.StreamResponse:
        match number % 4:
            case 0:
                return web.json_response({}, status=503)
            case 1:
                return await answer(request, whole()[:2])
            case 2:
                return await answer(request, [*whole()[:1], ("error", {"error": "deadline-exceeded"})])
        return await answer(request, whole())

    plan = replace(SMALL, arrivals=Arrivals("closed"), customers=1, think=Think(0.0), max_turns=8)
    async with running(failing) as desk:
        measured = await measure(replace(plan, url=desk.url), None)
    assert measured.errors == {"cut": 2, "failed_deadline-exceeded": 2, "http_503": 2}
    assert sum(measured.accepted.values()) == 6


async def test_a_turn_that_never_ends_is_told_as_unfinished_and_the_load_still_ends() -> None:
    async def silent(_desk: Desk, request: web.Request, _number: int) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    async with running(silent) as desk:
        measured = await measure(replace(SMALL, url=desk.url, duration_s=0.5, drain_s=0.3), None)
    assert measured.errors == {"unfinished": 10}
    assert measured.good_share == 0.0


async def test_a_hopeless_load_is_stopped_early() -> None:
    async def broken(_desk: Desk, request: web.Request, _number: int) -> web.StreamResponse:
        return web.json_response({}, status=503)

    seen: list[Window] = []
    async with running(broken) as desk:
        plan = replace(SMALL, url=desk.url, duration_s=60.0, window_s=0.2)
        measured = await measure(plan, None, hopeless=lambda windows: len(windows) >= 2, tell=seen.append)
    assert measured.stopped
    assert not measured.meets_slo
    assert seen[-1].end_s < 5.0


async def test_a_desk_that_is_not_there_seats_nobody_and_says_so() -> None:
    async with seated(SMALL) as run:
        assert run.seated.customers == 0
        counts = [window.counts async for window in run.windows()]
    assert sum(each.get("error_seat_connect", 0) for each in counts) > 6


async def test_a_worker_that_dies_is_an_error_not_a_short_report() -> None:
    async def killed() -> None:
        async with running(prompt) as desk, seated(replace(SMALL, url=desk.url, duration_s=30.0)) as run:
            async for _ in run.windows():
                for worker in run.workers:
                    if worker.returncode is None:
                        worker.kill()

    with pytest.raises(GeneratorFailed, match="-9"):
        await killed()
