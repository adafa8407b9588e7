"""When load arrives."""

import itertools
import random
import statistics

import pytest

from bench.load.arrivals import rate, thinking_s, times
from bench.load.plan import Arrivals, Law, Shape, Think

SECONDS, PROCESSES = 400.0, 4


def arrived(arrivals: Arrivals, *, seed: int = 1) -> list[list[float]]:
    """Each worker's times."""
    share = 1 / PROCESSES
    return [
        list(times(arrivals, SECONDS, share=share, offset=(number + 0.5) * share, seed=seed, number=number))
        for number in range(PROCESSES)
    ]


@pytest.mark.parametrize("shape", ["poisson", "steady", "bursts", "ramp"])
def test_the_workers_together_send_at_the_rate_asked_for(shape: Shape) -> None:
    workers = arrived(Arrivals(shape, 20.0, 20.0, burst_s=1.0))
    assert sum(map(len, workers)) / SECONDS == pytest.approx(20.0, rel=0.08)
    assert all(worker == sorted(worker) for worker in workers)


def test_poisson_gaps_have_the_spread_of_an_exponential() -> None:
    every = sorted(at for worker in arrived(Arrivals("poisson", 20.0)) for at in worker)
    gaps = [after - before for before, after in itertools.pairwise(every)]
    assert statistics.stdev(gaps) / statistics.mean(gaps) == pytest.approx(1.0, rel=0.08)


def test_steady_workers_do_not_send_at_the_same_moment() -> None:
    every = sorted(at for worker in arrived(Arrivals("steady", 20.0)) for at in worker)
    assert min(after - before for before, after in itertools.pairwise(every)) == pytest.approx(1 / 20.0, rel=1e-6)


def test_all_workers_burst_at_the_same_time() -> None:
    arrivals = Arrivals("bursts", 20.0, burst_factor=5.0, burst_share=0.2, burst_s=5.0)
    rate_at, highest = rate(arrivals, SECONDS, 1)
    assert highest == 100.0
    assert rate_at(0.0) in (0.0, 100.0)  # five times the rate a fifth of the time leaves nothing for the rest
    for worker in arrived(arrivals):
        assert all(rate_at(at) == 100.0 for at in worker)


def test_a_ramp_ends_faster_than_it_begins() -> None:
    every = [at for worker in arrived(Arrivals("ramp", 5.0, 35.0)) for at in worker]
    early, late = sum(at < SECONDS / 4 for at in every), sum(at >= SECONDS * 3 / 4 for at in every)
    assert late / early == pytest.approx(31.25 / 8.75, rel=0.15)


def test_workers_and_seeds_have_times_of_their_own() -> None:
    arrivals = Arrivals("poisson", 20.0)
    assert arrived(arrivals) == arrived(arrivals)
    assert arrived(arrivals) != arrived(arrivals, seed=2)
    first, second, *_ = arrived(arrivals)
    assert not set(first) & set(second)


@pytest.mark.parametrize("law", ["exponential", "lognormal", "constant"])
def test_thinking_has_the_mean_asked_for(law: Law) -> None:
    rng = random.Random(0)
    assert statistics.mean(thinking_s(Think(3.0, law), rng) for _ in range(20_000)) == pytest.approx(3.0, rel=0.05)
