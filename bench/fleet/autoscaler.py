"""Ray Serve's autoscaling rule on a clock of our own: `ray.serve.autoscaling_policy` of Ray 2.60, its default policy.

Wanted are as many replicas as the ongoing requests, averaged over `look_back_period_s`, need at `target_ongoing_requests` each;
that is done when it has been wanted without interruption for `upscale_delay_s` or `downscale_delay_s`.
"""

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AutoscalingConfig:
    """Under the names of Serve's `autoscaling_config`; its defaults where we have no reason for others."""

    target_ongoing_requests: float
    min_replicas: int = 2
    max_replicas: int = 10_000
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0
    look_back_period_s: float = 30.0


class Autoscaler:
    """`decide` once for every tick of `tick_s`; gives the number of replicas to have."""

    def __init__(self, config: AutoscalingConfig, replicas: int, tick_s: float = 1.0) -> None:
        self._config = config
        self._seen: deque[float] = deque(maxlen=max(1, round(config.look_back_period_s / tick_s)))
        self._wanted_since: float | None = None
        self._way = 0
        self.target = replicas

    def decide(self, now_s: float, ongoing: float, running: int) -> int:
        """`ongoing` requests in the fleet now, `running` replicas that serve."""
        self._seen.append(ongoing)
        desired = self._desired(sum(self._seen) / len(self._seen), running)
        way = (desired > self.target) - (desired < self.target)
        if way == 0 or way != self._way:
            self._way, self._wanted_since = way, now_s if way else None
        delay_s = self._config.upscale_delay_s if way > 0 else self._config.downscale_delay_s
        if self._wanted_since is not None and now_s - self._wanted_since >= delay_s - 1e-6:
            self.target, self._way, self._wanted_since = desired, 0, None
        return self.target

    def _desired(self, ongoing: float, running: int) -> int:
        config = self._config
        if running == 0:
            return self.target
        change = ongoing / config.target_ongoing_requests - running
        factor = config.upscaling_factor if change > 0 else config.downscaling_factor
        scaled = math.ceil(running + factor * change)
        if change < 0 and scaled == running and math.ceil(running + change) < running:
            scaled -= 1
        return min(config.max_replicas, max(config.min_replicas, scaled))
