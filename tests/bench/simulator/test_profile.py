"""Profiles load, say where their figures come from, and foretell runs that others measured."""

import pytest

from agents.domain.errors import NotFound, SettingsInvalid
from bench.simulator.profile import Limits, Work, load_profile, parse, profile_names
from bench.simulator.published import ratios, rows


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_loads_and_names_its_source(name: str) -> None:
    profile = load_profile(name)
    assert profile.source
    assert (profile.cost.step_s(Work(512, 8, 4000, 131_072.0)) > 0) == (name != "instant")


def test_a_misspelt_profile_or_field_is_told() -> None:
    with pytest.raises(NotFound, match="l4-qwen3-8b-fp9"):
        load_profile("l4-qwen3-8b-fp9")
    with pytest.raises(SettingsInvalid, match=r"limits\.max_seqs"):
        parse("mine", {"source": "made up", "limits": {"max_seqs": 4}})


def test_limits_under_which_a_request_could_wait_for_ever_are_refused() -> None:
    with pytest.raises(SettingsInvalid, match="KV cache holds"):
        Limits(kv_cache_memory_bytes=1 << 20)


def test_a_smaller_card_is_slower_and_a_larger_model_does_not_fit_on_it() -> None:
    work = Work(0, 16, 8000, 0.0)
    small, large = (load_profile(f"{card}-qwen3-8b-fp8").cost.step_s(work) for card in ("l4", "h100"))
    assert small > 4 * large
    assert "l4-qwen3-32b-fp8" not in profile_names()


def test_published_runs_nothing_was_read_off_are_foretold_within_a_tenth() -> None:
    wanted = [row for row in rows() if not row.used and row.profile == "h100-qwen3-8b-fp8" and row.output_tokens < 500]
    assert wanted
    for ratio in ratios(wanted):
        assert ratio.itl == pytest.approx(1.0, abs=0.1)
        assert ratio.output_tokens_per_s == pytest.approx(1.0, abs=0.1)
