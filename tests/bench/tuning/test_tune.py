"""The search finds better settings where there are any, gives up bad ones, and writes what models.toml can hold."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from agents.domain.errors import SettingsInvalid
from bench.simulator.desk_turns import Admission, attained, steady
from bench.simulator.profile import Limits, Profile, StepCost
from bench.tuning.goodput import Level, simulated_goodput
from bench.tuning.settings import Settings, default_settings
from bench.tuning.tune import Search, run

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
