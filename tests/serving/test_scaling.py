"""Replicas: a number, or between two numbers."""

import pytest

from agents.domain.errors import SettingsInvalid
from serving.scaling import Scaling, scaling


def test_a_fixed_number_is_a_number() -> None:
    options = Scaling(3, None, 16.0).options(surge=False)
    assert (options["num_replicas"], options["max_surge_percent"]) == (3, 0)
    assert "autoscaling_config" not in options


def test_between_two_numbers_the_load_decides() -> None:
    scale = Scaling(2, 8, 16.0)
    config = scale.options(surge=True)["autoscaling_config"]
    assert (config["min_replicas"], config["max_replicas"], config["target_ongoing_requests"]) == (2, 8, 16.0)
    assert scale.most == 8


def test_fewer_at_most_than_at_least_is_refused_by_name() -> None:
    with pytest.raises(SettingsInvalid) as raised:
        scaling("DESK", 4, 2, 100.0)
    assert "KEEPWORD_DESK_MAX_REPLICAS" in raised.value.message
