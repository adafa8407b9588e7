"""The autoscaler decides as Ray Serve's own policy does."""

import random
from typing import Any

from ray.serve import autoscaling_policy as serve_policy
from ray.serve.config import AutoscalingConfig as ServeConfig

from bench.fleet.autoscaler import Autoscaler, AutoscalingConfig


def test_its_decisions_are_those_of_ray_serve() -> None:
    """Serve's policy reads the wall clock; its two halves, asked here one after the other, take the time as an argument."""
    given: dict[str, Any] = {"target_ongoing_requests": 10.0, "upscale_delay_s": 5.0, "downscale_delay_s": 20.0}
    ours = Autoscaler(AutoscalingConfig(**given, min_replicas=1, max_replicas=40, look_back_period_s=1.0), 3)
    theirs = ServeConfig(**given, min_replicas=1, max_replicas=40)
    rng, target, ongoing = random.Random(4), 3, 30.0
    state: dict[str, Any] = {}
    for now_s in range(600):
        ongoing = max(0.0, ongoing + rng.uniform(-12, 12) + (300 if now_s == 200 else 0))
        running = target
        scaled = serve_policy._apply_scaling_factors(ongoing / 10.0, running, theirs)
        wanted = min(40, max(1, scaled))
        target, state = serve_policy._apply_delay_logic(wanted, target, theirs, state, _now=float(now_s))
        assert ours.decide(float(now_s), ongoing, running) == target, now_s


def test_a_wish_that_is_interrupted_begins_anew() -> None:
    scaler = Autoscaler(AutoscalingConfig(10.0, upscale_delay_s=10.0, look_back_period_s=1.0), 2)
    wishes = [100.0] * 8 + [20.0] + [100.0] * 10
    assert [scaler.decide(float(second), wish, 2) for second, wish in enumerate(wishes)] == [2] * 19
    assert scaler.decide(19.0, 100.0, 2) == 10
