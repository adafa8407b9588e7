"""Is memory flat? Known leaks are found, noise is not called one."""

import random

from bench.load.steady import slope


def wandering(leak_an_hour: float, *, seed: int = 0, samples: int = 1800) -> tuple[list[float], list[float]]:
    """Half an hour of memory a second apart: 1,000 MiB, a leak, and noise that remembers its past."""
    rng, noise, xs, ys = random.Random(seed), 0.0, [], []
    for second in range(samples):
        noise = 0.95 * noise + rng.gauss(0, 1.0)
        xs.append(second / 3600)
        ys.append(1000 + leak_an_hour * second / 3600 + noise)
    return xs, ys


def test_a_leak_is_found_with_its_size() -> None:
    found = slope(*wandering(60.0))
    assert found.low < 60.0 < found.high
    assert found.low > 20.0


def test_autocorrelated_noise_is_not_called_a_leak() -> None:
    held = [slope(*wandering(0.0, seed=seed)) for seed in range(40)]
    assert sum(each.low <= 0.0 <= each.high for each in held) >= 34  # 95 % intervals, and nearly independent batches


def test_a_few_looks_say_nothing() -> None:
    assert not slope([0.0, 1.0, 2.0], [1.0, 1.0, 1.0]).known
