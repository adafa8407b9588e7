"""How many replicas a deployment has: a number, or as many as its load needs between two."""

from dataclasses import dataclass
from typing import Any

from agents.domain.errors import SettingsInvalid

UPSCALE_DELAY_S, DOWNSCALE_DELAY_S, LOOK_BACK_S = 5.0, 300.0, 10.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """`max_replicas` None: `replicas`, always. `target_ongoing`: requests under way a replica, on average, above which Serve
    starts another."""

    replicas: int
    max_replicas: int | None
    target_ongoing: float

    @property
    def most(self) -> int:
        return self.max_replicas or self.replicas

    def options(self, *, surge: bool) -> dict[str, Any]:
        """Deployment options. `surge`: at a rolling restart new replicas are ready before the old ones go; without it (an
        accelerator has no room for two) they go first, one after the other."""
        options: dict[str, Any] = {"max_surge_percent": 100 if surge else 0}
        if self.max_replicas is None:
            return options | {"num_replicas": self.replicas}
        return options | {
            "autoscaling_config": {
                "min_replicas": self.replicas,
                "initial_replicas": self.replicas,
                "max_replicas": self.max_replicas,
                "target_ongoing_requests": self.target_ongoing,
                "upscale_delay_s": UPSCALE_DELAY_S,
                "downscale_delay_s": DOWNSCALE_DELAY_S,
                "look_back_period_s": LOOK_BACK_S,
            }
        }


def scaling(name: str, replicas: int, max_replicas: int | None, target_ongoing: float) -> Scaling:
    """Raises SettingsInvalid when the most is less than the least."""
    if max_replicas is not None and max_replicas < replicas:
        raise SettingsInvalid(
            f"KEEPWORD_{name}_MAX_REPLICAS is {max_replicas}, less than KEEPWORD_{name}_REPLICAS, {replicas}",
            hint="Raise it, or unset it for a fixed number.",
        )
    return Scaling(replicas, max_replicas, target_ongoing)
