"""Calibration finds the costs of an engine whose costs are known, and says so when its forecast is wrong."""

import asyncio
import random
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.result import BenchResult
from bench.simulator.calibrate import run
from bench.simulator.fit import Step, fit, read_steps, steps_of
from bench.simulator.loads import Load, Served, drive
from bench.simulator.model import SimulatedModel
from bench.simulator.profile import Limits, Pace, Profile, StepCost, Work, parse
from bench.simulator.real_engine import limits_of
from bench.simulator.timing import VirtualLoop

COST = StepCost(base_s=0.01, weights_s=0.04, token_s=0.001, prompt_s=0.015, sequence_s=0.001, context_s=2e-6, pair_s=1e-7)
KNOWN = Profile("known", "made up", Limits(block_size=32), COST, request_s=0.006)


class Known:
    """An engine that is itself simulated; `warp` changes how long its steps seem to take."""

    def __init__(self, warp: Callable[[Work], float] = lambda work: 1.0) -> None:
        self.limits = KNOWN.limits
        self._rows: list[tuple[float, float, int, int, int, float]] = []
        self._warp = warp
        self._model = SimulatedModel(KNOWN, on_step=self._stepped)

    def _stepped(self, began: float, ended: float, work: Work) -> None:
        ended = began + (ended - began) * self._warp(work)
        self._rows.append((began, ended, work.prefill_tokens, work.sequences, work.context_tokens, work.pairs))

    async def drive(self, load: Load) -> list[Served]:
        return await drive(self._model, load)

    def steps(self) -> list[Step]:
        return [Step(row[0], row[1] - row[0], Work(*row[2:])) for row in self._rows]


def calibrated(subject: Known, folder: Path) -> BenchResult:
    async def work() -> BenchResult:
        written, raw = folder / "cpu.toml", folder / "raw"
        return await run(subject, seed=3, quick=True, progress=lambda done, of: None, written_to=written, raw=raw)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work())


def test_known_costs_are_found_and_five_other_loads_foretold(tmp_path: Path) -> None:
    result = calibrated(Known(), tmp_path)
    assert len(result.bars) == 15
    assert result.ok
    assert max(bar.value for bar in result.bars.values()) < 0.05
    written = parse("cpu", tomllib.loads((tmp_path / "cpu.toml").read_text()))
    for work in (Work(500, 0, 0, 125_000.0), Work(0, 1, 200, 0), Work(0, 60, 9000, 0), Work(200, 20, 3000, 60_000.0)):
        assert written.cost.step_s(work) == pytest.approx(COST.step_s(work), rel=0.05)
    assert written.request_s == pytest.approx(0.006, abs=0.001)
    assert written.limits == KNOWN.limits
    assert (tmp_path / "raw" / "requests.jsonl").stat().st_size > 0


@pytest.mark.parametrize("later", [Pace(2.0, 2.0), Pace(1.0, 2.0), Pace(2.0, 1.0)])
def test_a_machine_that_slows_down_half_way_is_foretold_at_the_pace_it_has(later: Pace, tmp_path: Path) -> None:
    class Slowing(Known):
        """From its fifteenth load on it takes as long as `later` says."""

        async def drive(self, load: Load) -> list[Served]:
            self.loads += 1
            slow = KNOWN.slowed(later) if self.loads > 15 else KNOWN
            return await drive(SimulatedModel(slow, on_step=self._stepped), load)

        loads = 0

    result = calibrated(Slowing(), tmp_path)
    assert sum(bar.ok for bar in result.bars.values()) >= 13
    probes = [probe for same in result.detail["probes"].values() for probe in same]
    for name, factor in (("token_s", later.decode), ("prompt_s", later.prompt)):
        assert max(probe[name] for probe in probes) / min(probe[name] for probe in probes) == pytest.approx(factor, rel=0.15)


def test_an_engine_that_takes_twice_the_time_its_diary_tells_falls_short(tmp_path: Path) -> None:
    result = calibrated(Known(warp=lambda work: 0.5), tmp_path)
    assert not result.ok


def test_noise_that_halves_as_often_as_it_doubles_does_not_shift_the_cost() -> None:
    rng = random.Random(11)
    held = [
        Work(rng.choice((60, 250, 900)), rng.randrange(8), 0, 0.0) if n % 4 == 0 else Work(0, 1 + n % 40, 9 * n, 0)
        for n in range(800)
    ]
    pace = Pace(1.3, 0.7)
    steps = [Step(0.0, COST.slowed(pace).step_s(work) * rng.lognormvariate(0, 0.3), work, pace) for work in held]
    cost = fit(steps)
    for work in (Work(60, 0, 0, 0.0), Work(900, 4, 0, 0.0), Work(0, 2, 200, 0), Work(0, 40, 5000, 0)):
        assert cost.step_s(work) == pytest.approx(COST.step_s(work), rel=0.05)


def test_a_step_lasts_until_the_next_begins_unless_the_engine_was_idle() -> None:
    first, second, third = (0.0, 0.10, 5, 0, 0, 1.0), (0.11, 0.2, 0, 1, 5, 0.0), (3.0, 3.1, 0, 1, 6, 0.0)
    assert [round(step.seconds, 3) for step in steps_of([first, second, third])] == [0.11, 0.09, 0.1]


def test_a_half_written_line_of_the_diary_is_left_out(tmp_path: Path) -> None:
    diary = tmp_path / "steps.jsonl"
    diary.write_text("[0.0, 0.1, 5, 0, 0, 12.5]\n[0.1, 0.")
    assert [step.work for step in read_steps(diary)] == [Work(5, 0, 0, 12.5)]


def test_limits_follow_from_the_arguments_and_the_models_shape(tmp_path: Path) -> None:
    shape = '{"num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "hidden_size": 896}'
    (tmp_path / "config.json").write_text(shape)
    limits = limits_of({"max_num_seqs": 64, "block_size": 32, "dtype": "bfloat16"}, tmp_path)
    assert limits == replace(Limits(), max_num_seqs=64, block_size=32, kv_bytes_per_token=12_288)
