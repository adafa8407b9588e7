"""Is memory flat? The slope of a noisy, autocorrelated series with its confidence, by batch means.

Samples a second apart are not independent, and a line through all of them would look far surer than it is. So they are averaged
over a few long batches, whose means are nearly independent (Law and Kelton, Simulation Modeling and Analysis, ch. 9), and the
line goes through those.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import linregress, t  # type: ignore[import-untyped]

BATCHES = 20
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Slope:
    """Units of y a unit of x, with the ends of a 95 % interval. `known`: enough points to say anything."""

    value: float
    low: float
    high: float
    known: bool


def slope(xs: Sequence[float], ys: Sequence[float]) -> Slope:
    """Least squares through the means of at most 20 batches; unknown with fewer than 5 points."""
    size = max(1, len(xs) // BATCHES)
    means = [
        (sum(xs[begin : begin + size]) / size, sum(ys[begin : begin + size]) / size)
        for begin in range(0, len(xs) - size + 1, size)
    ]
    if len(means) < 5:
        return Slope(0.0, -math.inf, math.inf, known=False)
    fit = linregress([x for x, _ in means], [y for _, y in means])
    half = float(t.ppf((1 + LEVEL) / 2, len(means) - 2)) * float(fit.stderr)
    value = float(fit.slope)
    return Slope(value, value - half, value + half, known=True)
