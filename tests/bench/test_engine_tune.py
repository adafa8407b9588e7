"""What an engine's settings are compared by."""

import asyncio

import pytest

from bench.engine_tune import Figures, longest_gap_s, ratios
from bench.simulator.model import SimulatedModel
from bench.simulator.profile import load_profile
from bench.simulator.timing import VirtualLoop


@pytest.mark.parametrize(("step_tokens", "least_s", "most_s"), [(256, 0.1, 0.35), (2048, 1.0, 2.5)])
def test_streams_wait_for_a_token_as_long_as_the_step_that_reads_a_long_prompt_beside_them(
    step_tokens: int, least_s: float, most_s: float
) -> None:
    engine = SimulatedModel(load_profile("cpu").with_limits(max_num_batched_tokens=step_tokens))
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert least_s < runner.run(longest_gap_s(engine, 1)) < most_s


def test_a_ratio_above_one_is_better_for_rates_and_times_alike() -> None:
    base, changed = Figures(10, 50, 400, 0.4, 2.0), Figures(20, 50, 200, 0.2, 4.0)
    assert ratios([(base, changed)]) == {
        "alone_tokens_per_s": 2.0,
        "at_once_tokens_per_s": 1.0,
        "prefill_tokens_per_s": 0.5,
        "cached_first_token_s": 2.0,
        "longest_gap_s": 0.5,
    }
