"""The search finds capacities that are known."""

import random
from collections.abc import Awaitable, Callable

import pytest

from bench.load.search import search

Trial = Callable[[float, int], Awaitable[tuple[bool, float]]]


def system(capacity: float, noise: float = 0.0) -> Trial:
    """Meets the objective below `capacity`, give or take."""

    async def trial(rate: float, seed: int) -> tuple[bool, float]:
        return rate <= capacity * (1 + random.Random(seed).uniform(-noise, noise)), rate

    return trial


@pytest.mark.parametrize("capacity", [1.3, 17.0, 730.0])
async def test_a_sharp_capacity_is_found_within_the_precision(capacity: float) -> None:
    found = await search(system(capacity), lowest=1.0, highest=1000.0, repeats=1, precision=0.05)
    assert found.median == pytest.approx(capacity, rel=0.05)


async def test_the_interval_of_a_noisy_system_holds_its_capacity() -> None:
    found = await search(system(40.0, noise=0.1), lowest=1.0, highest=1000.0, repeats=7, precision=0.02, seed=3)
    low, high = found.interval()
    assert len(found.estimates) == 7
    assert low <= 40.0 * 1.05
    assert high >= 40.0 * 0.95
    assert low < high
    assert found.median == pytest.approx(40.0, rel=0.1)


async def test_a_system_that_never_meets_the_objective_has_no_capacity_and_is_tried_once() -> None:
    found = await search(system(0.5), lowest=1.0, highest=1000.0, repeats=5)
    assert (found.estimates, found.median, len(found.trials)) == ((), 0.0, 1)


async def test_a_system_beyond_the_highest_rate_is_said_to_do_at_least_that() -> None:
    found = await search(system(5000.0), lowest=1.0, highest=100.0, repeats=5)
    assert (found.open_end, found.median) == (True, 100.0)


async def test_every_trial_has_a_seed_of_its_own() -> None:
    seeds: list[int] = []

    async def trial(rate: float, seed: int) -> tuple[bool, None]:
        seeds.append(seed)
        return rate < 10, None

    found = await search(trial, lowest=1.0, highest=100.0, repeats=3, seed=50)
    assert seeds == list(range(50, 50 + len(found.trials)))
