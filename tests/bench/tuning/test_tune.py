"""The search finds better settings where there are any, gives up bad ones, and writes what models.toml can hold."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from agents.domain.errors import SettingsInvalid
from bench.simulator.desk_turns import Admission, attained, steady
from bench.simulator.profile import Limits, Profile, StepCost
from bench.tuning.goodput import Goodput, Level, simulated_goodput
from bench.tuning.settings import Settings, default_settings
from bench.tuning.tune import Reached, Search, run

COST = StepCost(base_s=0.02, weights_s=0.05, token_s=0.0005, sequence_s=0.0005)
POOR = Limits(max_num_seqs=2, max_num_batched_tokens=8192, kv_cache_memory_bytes=1 << 30)
PROFILE = Profile("test", "made up", POOR, COST)
LEVEL = Level(2.0, turns_a_point=100)


def test_a_poor_default_is_improved_and_the_winner_is_written(tmp_path: Path) -> None:
    wanted = Search(PROFILE, LEVEL, "some-model", trials=6)
    moved: list[int] = []
    result = run(wanted, seed=1, write=tmp_path / "won.toml", progress=lambda done, of: moved.append(done))
    assert result.ok
    assert result.bars["goodput_to_default"].value > 1.2
    assert moved[-1] == 6
    table = tomllib.loads((tmp_path / "won.toml").read_text())["model"]["some-model"]["engine"]["gpu"]
    assert table == result.detail["winner"]["engine"]
    assert table["max_num_seqs"] > 2


class Collapsing(Search):
    """Whatever differs from what there is now keeps ten times as much, and nothing in an overload."""

    def measure(self, settings: Settings, arrivals: int, reached: Reached) -> Goodput:
        return Goodput(5.0, 3.0) if settings == self.now else Goodput(50.0, 0.0)


def test_what_collapses_in_an_overload_wins_nothing() -> None:
    wanted = Collapsing(PROFILE, LEVEL, "some-model", trials=12)
    result = run(wanted, seed=1, write=None, progress=lambda done, of: None)
    assert result.detail["winner"] == result.detail["default"]
    assert result.bars["goodput_to_default"].value == 1.0
    assert result.bars["overloaded_gain_per_s_on_other_arrivals"].ok


def test_more_places_carry_more_turns() -> None:
    def goodput(places: int) -> float:
        now = default_settings(POOR)
        return simulated_goodput(PROFILE, replace(now, engine={**now.engine, "max_num_seqs": places}), LEVEL, 1).kept_per_s

    assert goodput(32) > 1.2 * goodput(2)


def test_a_queue_with_an_end_keeps_turns_alive_in_an_overload() -> None:
    def share(admission: Admission) -> float:
        turns = steady(PROFILE.with_limits(max_num_seqs=16), 12.0, seconds=60.0, seed=1, admission=admission)
        return attained(turns, LEVEL.slo_s)

    assert share(Admission(4, 2)) > 2 * share(Admission())


def test_settings_an_engine_would_refuse_are_refused() -> None:
    now = default_settings(POOR)
    bad = Settings({**now.engine, "enable_chunked_prefill": False, "max_num_batched_tokens": 512}, now.admission)
    with pytest.raises(SettingsInvalid, match="chunked prefill"):
        simulated_goodput(PROFILE, bad, LEVEL, 1)
