"""From step records of a real engine to the cost of a step: least squares with costs that cannot be negative."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares  # type: ignore[import-untyped]

from bench.simulator.profile import Pace, StepCost, Work

USUAL: Final = Pace()
IDLE_AFTER_S: Final = 0.02
"""A pause this long between steps is the engine waiting for work, not part of a step."""
NAMES: Final = ("base_s", "weights_s", "token_s", "prompt_s", "prefill_s", "sequence_s", "context_s", "pair_s")
SCALE: Final = (0.02, 0.02, 5e-4, 0.02, 5e-4, 1e-3, 1e-6, 1e-7)
LEAST: Final = 1e-9  # of the scale: a step takes some time
DAMPED_FROM: Final = 0.1  # of the logarithm: 10 %
STARTS: Final = (
    (1, 1, 1, 1, 1, 1, 1, 1),
    (1, 3, 2, 0.1, 0.1, 0.1, 1, 1),
    (3, 0.1, 0.1, 1, 2, 2, 1, 1),
    (0.1, 2, 4, 0.1, 0.1, 1, 0.1, 0.1),
)
"""The corner where products outgrow the weights makes several optima: the best of these starts is kept."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: when it began (seconds, monotonic), how long it took until the next could begin, what it held, and the
    machine's pace at the time."""

    began: float
    seconds: float
    work: Work
    pace: Pace = USUAL


def read_steps(diary: Path) -> list[Step]:
    """The steps of `recorder.RecordingScheduler`'s diary, in order; a line still being written is left out."""
    return steps_of([json.loads(line) for line in diary.read_text(encoding="utf-8").splitlines() if line.endswith("]")])


def steps_of(rows: Sequence[Sequence[float]]) -> list[Step]:
    """From (began, ended, prompt tokens, sequences, context, pairs), in order. A step lasts until the next can begin."""
    steps: list[Step] = []
    for index, (began, ended, prefill, sequences, context, pairs) in enumerate(rows):
        following = rows[index + 1][0] if index + 1 < len(rows) else ended
        until = following if following - ended < IDLE_AFTER_S else ended
        steps.append(Step(began, until - began, Work(int(prefill), int(sequences), int(context), pairs)))
    return steps


def fit(steps: Sequence[Step]) -> StepCost:
    """The cost, at the usual pace, that explains `steps` best. Errors are ratios, as likely half as double (of the relative
    difference a forecast that is too low has the smaller), and outliers are damped (a step another process interrupted)."""
    held = np.array([[s.work.prefill_tokens, s.work.sequences, s.work.context_tokens, s.work.pairs] for s in steps])
    pace = np.array([[step.pace.decode, step.pace.prompt] for step in steps])
    seconds = np.array([step.seconds for step in steps])
    scale = np.array(SCALE)

    def residuals(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        off: NDArray[np.float64] = np.log(_predicted(scaled * scale, held, pace) / seconds)
        return off

    fits = [least_squares(residuals, start, bounds=(LEAST, np.inf), loss="soft_l1", f_scale=DAMPED_FROM) for start in STARTS]
    found = min(fits, key=lambda one: float(one.cost))
    return StepCost(**{name: float(value) for name, value in zip(NAMES, found.x * scale, strict=True)})


def relative_error(cost: StepCost, steps: Sequence[Step]) -> float:
    """Median over `steps` of |predicted - measured| / measured."""
    return float(np.median([abs(cost.slowed(step.pace).step_s(step.work) / step.seconds - 1) for step in steps]))


def _predicted(cost: NDArray[np.float64], held: NDArray[np.float64], pace: NDArray[np.float64]) -> NDArray[np.float64]:
    """As `StepCost.slowed` and `step_s`, for all steps at once."""
    base, weights, token, prompt, prefill, sequence, context, pair = cost
    prefill_tokens, sequences, context_tokens, pairs = held.T
    decoding, prompting = pace.T
    decoded: NDArray[np.float64] = base + sequences * sequence + context_tokens * context
    prompts: NDArray[np.float64] = prompt * (prefill_tokens > 0) + prefill_tokens * prefill + pairs * pair
    products: NDArray[np.float64] = np.maximum(weights * decoding, (prefill_tokens + sequences) * token * prompting)
    whole: NDArray[np.float64] = decoded * decoding + prompts * prompting + products
    return whole
