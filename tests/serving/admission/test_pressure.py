"""Brown-out rises in steps under a standing queue, of the tenant that has one, and falls one step at a time."""

import pytest

from agents.domain.brownout import Brownout
from agents.domain.errors import DeadlineExceeded, EmptyOutput, EngineUnavailable
from agents.ports import Message, ModelRequest
from serving.admission.breaker import FAILURES, PAUSE_S, Breaker, WatchedModel
from serving.admission.place import Place, Reason
from serving.admission.pressure import CALM_S, INTERVAL_S, BrownOut
from serving.admission.tickets import Ticket
from serving.scripted import ScriptedModel
from tests.fakes import SetClock

TARGET_S = 0.5


class Desk:
    def __init__(self) -> None:
        self.clock = SetClock()
        self.breaker = Breaker(self.clock.monotonic)
        self.brown_out = BrownOut(self.clock.monotonic, self.breaker, queue_target_s=TARGET_S)

    def waits(self, seconds: float, *, lasting_s: float, tenant: str = "t") -> list[Brownout]:
        """The tenant's turns wait `seconds` each for `lasting_s`; the levels on the way, each once."""
        seen: list[Brownout] = []
        for _ in range(round(lasting_s / INTERVAL_S * 4)):
            self.clock.move(INTERVAL_S / 4)
            self.brown_out.let_in(self.place(tenant), seconds)
            level = self.brown_out.level(tenant)
            if level not in seen:
                seen.append(level)
        return seen

    def place(self, tenant: str) -> Place:
        return Place(Ticket(tenant), 100.0, self.clock.monotonic(), lambda: None)


def test_a_standing_queue_raises_the_level_step_by_step_and_no_further_than_it_stands() -> None:
    assert Desk().waits(TARGET_S * 9, lasting_s=5) == [0, 1, 2, 3, 4]
    assert Desk().waits(TARGET_S * 2.5, lasting_s=5) == [0, 1, 2]


def test_one_turn_that_waited_among_others_that_did_not_raises_nothing() -> None:
    desk = Desk()
    for number in range(40):
        desk.clock.move(INTERVAL_S / 4)
        desk.brown_out.let_in(desk.place("t"), 10.0 if number % 4 else 0.0)
    assert desk.brown_out.level("t") == Brownout.NORMAL


def test_after_calm_the_level_falls_one_step_at_a_time() -> None:
    desk = Desk()
    desk.waits(TARGET_S * 9, lasting_s=5)
    falling = []
    for _ in range(10):
        desk.clock.move(CALM_S + INTERVAL_S)
        falling.append(int(desk.brown_out.level("t")))
    assert falling[:4] == [3, 2, 1, 0]


def test_between_its_thresholds_a_level_stays() -> None:
    desk = Desk()
    desk.waits(TARGET_S * 2.5, lasting_s=3)
    assert desk.waits(TARGET_S * 1.5, lasting_s=6 * CALM_S) == [2]


def test_one_tenants_queue_shortens_nobody_elses_replies() -> None:
    desk = Desk()
    desk.waits(TARGET_S * 9, lasting_s=5, tenant="flood")
    assert desk.brown_out.level("flood") == Brownout.HANDOFF
    assert desk.brown_out.level("quiet") == Brownout.NORMAL
    assert desk.brown_out.highest() == Brownout.HANDOFF


def test_refusals_press_as_long_as_the_wait_they_spared_but_not_those_for_a_tenants_own_limit() -> None:
    desk = Desk()
    for reason, tenant in ((Reason.RATE, "limited"), (Reason.DEADLINE, "late")):
        for _ in range(8):
            desk.clock.move(INTERVAL_S)
            desk.brown_out.refused(desk.place(tenant), reason, TARGET_S * 9)
    assert desk.brown_out.level("limited") == Brownout.NORMAL
    assert desk.brown_out.level("late") == Brownout.HANDOFF


def test_an_engine_that_is_slow_with_little_to_do_is_asked_for_less_but_still_asked() -> None:
    desk = Desk()
    for _ in range(40):
        desk.clock.move(INTERVAL_S / 2)
        desk.brown_out.left(desk.place("t"), 20.0)
    assert desk.brown_out.level("t") == Brownout.WORDING


REQUEST = ModelRequest((Message("user", "hello"),), max_tokens=8)


@pytest.mark.parametrize("error", [EngineUnavailable("gone"), DeadlineExceeded("late")])
async def test_an_engine_that_does_not_answer_is_left_alone_then_tried_again(error: Exception) -> None:
    desk, down = Desk(), [True]

    def script(_: ModelRequest) -> str:
        if down:
            raise error
        return "hello there"

    model = WatchedModel(ScriptedModel(script), desk.breaker)
    for _ in range(FAILURES):
        assert desk.brown_out.level("t") == Brownout.NORMAL
        with pytest.raises(type(error)):
            await model.generate(REQUEST)
    assert desk.brown_out.level("t") == Brownout.HANDOFF
    desk.clock.move(PAUSE_S)
    assert desk.brown_out.level("t") == Brownout.WORDING
    with pytest.raises(type(error)):
        async for _ in model.stream(REQUEST):
            pass
    assert desk.brown_out.level("t") == Brownout.HANDOFF
    down.clear()
    await model.generate(REQUEST)
    assert desk.brown_out.level("t") == Brownout.NORMAL


async def test_an_empty_answer_is_an_answer() -> None:
    desk = Desk()
    model = WatchedModel(ScriptedModel(lambda _: ""), desk.breaker)
    for _ in range(FAILURES + 1):
        with pytest.raises(EmptyOutput):
            await model.generate(REQUEST)
    assert desk.brown_out.level("t") == Brownout.NORMAL
