"""The limit finds the number of turns at which they take their target, and keeps it."""

import pytest

from agents.domain.brownout import Brownout
from serving.admission.limiter import QUICK, TOLERANCE, WINDOW_SAMPLES, Limiter


def run(limiter: Limiter, seconds_at: dict[str, float], *, windows: int, offered: float = 1e9) -> None:
    """`windows` seconds of an engine where N turns take base + each x N target times."""
    for window in range(windows):
        in_flight = int(min(limiter.limit, offered))
        slowness = seconds_at["base"] + seconds_at["each"] * in_flight
        for sample in range(WINDOW_SAMPLES + 1):
            limiter.sample(slowness, in_flight, window * 1.1 + sample * 0.13)


@pytest.mark.parametrize("first", [32.0, 400.0])
def test_before_it_was_ever_quiet_it_settles_where_turns_take_their_target(first: float) -> None:
    limiter = Limiter(first)
    run(limiter, {"base": 0.2, "each": 0.04}, windows=120)  # 20 turns take exactly the target
    assert 18 <= limiter.limit <= 22


@pytest.mark.parametrize("first", [8.0, 32.0, 400.0])
def test_it_settles_where_turns_take_a_multiple_of_their_quiet_time_wherever_it_began(first: float) -> None:
    limiter = Limiter(first, bearable=QUICK)
    run(limiter, {"base": 0.2, "each": 0.02}, windows=12, offered=1)  # alone a turn takes 0.22
    run(limiter, {"base": 0.2, "each": 0.02}, windows=120)
    wanted = (TOLERANCE * 0.22 - 0.2) / 0.02
    assert 0.9 * wanted <= limiter.limit <= 1.1 * wanted


@pytest.mark.parametrize("quiet_s", [0.05, 0.3])
def test_turns_in_time_are_not_held_back_for_being_slower_than_in_a_quiet_engine(quiet_s: float) -> None:
    limiter = Limiter(32.0)
    run(limiter, {"base": quiet_s, "each": 0.02}, windows=12, offered=1)
    run(limiter, {"base": quiet_s, "each": 0.02}, windows=120)
    wanted = (1.0 - quiet_s) / 0.02
    assert 0.9 * wanted <= limiter.limit <= 1.1 * wanted


def test_it_follows_an_engine_that_becomes_slower() -> None:
    limiter = Limiter(20.0, bearable=QUICK)
    run(limiter, {"base": 0.2, "each": 0.02}, windows=12, offered=1)
    run(limiter, {"base": 0.2, "each": 0.07}, windows=60)
    assert limiter.limit <= (TOLERANCE * 0.22 - 0.2) / 0.07 * 1.2


def test_where_few_turns_are_as_slow_as_many_it_does_not_strangle_the_engine() -> None:
    limiter = Limiter(20.0)
    run(limiter, {"base": 3.0, "each": 0.01}, windows=20, offered=3)
    run(limiter, {"base": 3.0, "each": 0.01}, windows=60)
    assert limiter.limit >= 20


def test_turns_that_take_a_fraction_of_their_target_are_not_held_back_for_being_slower_than_at_night() -> None:
    limiter = Limiter(64.0, bearable=QUICK)
    run(limiter, {"base": 0.01, "each": 0.002}, windows=20, offered=1)  # alone a turn takes 0.012
    run(limiter, {"base": 0.01, "each": 0.005}, windows=120, offered=12)  # 0.07 beside eleven others
    assert limiter.limit >= 32


@pytest.mark.parametrize("level", [Brownout.SHORTER, Brownout.ONE_CALL])
def test_turns_that_left_work_out_do_not_count_as_quiet_ones(level: Brownout) -> None:
    limiter = Limiter(20.0)
    for sample in range(40):
        limiter.sample(0.05, 1, sample * 0.5, level)
    run(limiter, {"base": 0.2, "each": 0.04}, windows=60)
    assert limiter.limit >= 18


def test_the_quiet_after_an_overload_sets_no_limit_while_some_turns_are_still_cut_down() -> None:
    limiter = Limiter(20.0)
    run(limiter, {"base": 0.2, "each": 0.02}, windows=12, offered=1)
    run(limiter, {"base": 0.2, "each": 0.02}, windows=60)
    learned = limiter.limit
    for sample in range(11):
        limiter.sample(0.1, 4, 1000.0 + sample * 0.15, Brownout.ONE_CALL if sample % 2 else Brownout.NORMAL)
    run(limiter, {"base": 0.2, "each": 0.02}, windows=60)
    assert limiter.limit >= 0.9 * learned


def test_a_small_limit_is_full_with_the_whole_turns_it_holds() -> None:
    limiter = Limiter(2.9)
    run(limiter, {"base": 0.1, "each": 0.0}, windows=60)
    assert limiter.limit > 100


def test_where_no_turn_reaches_the_engine_it_goes_back_to_where_it_began_and_no_further() -> None:
    limiter = Limiter(20.0)
    limiter.limit = limiter.lowest
    for sample in range(600):
        limiter.sample(None, 2, 100.0 + sample * 0.1, Brownout.HANDOFF)
    assert limiter.limit == 20.0


def test_turns_kept_from_the_engine_do_not_hide_how_slow_the_others_are() -> None:
    limiter = Limiter(20.0)
    for sample in range(600):
        kept_from_it = sample % 10
        limiter.sample(None if kept_from_it else 3.0, 20, sample * 0.1, Brownout.HANDOFF if kept_from_it else Brownout.NORMAL)
    assert limiter.limit < 10


def test_an_engine_with_little_to_do_proves_nothing() -> None:
    limiter = Limiter(32.0)
    run(limiter, {"base": 0.1, "each": 0.0}, windows=50, offered=4)
    assert limiter.limit == 32.0


def test_one_odd_turn_in_a_window_moves_nothing() -> None:
    limiter = Limiter(16.0)
    for sample in range(10):
        limiter.sample(100.0 if sample == 3 else 1.0, 16, sample * 0.15)
    assert limiter.limit == 16.0


def test_it_keeps_its_bounds() -> None:
    slow, fast = Limiter(4.0, lowest=2.0), Limiter(400.0, highest=512.0)
    run(slow, {"base": 0.1, "each": 0.0}, windows=2, offered=1)
    run(slow, {"base": 50.0, "each": 0.0}, windows=60)
    run(fast, {"base": 0.01, "each": 0.0}, windows=60)
    assert (slow.limit, fast.limit) == (2.0, 512.0)
