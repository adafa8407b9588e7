"""Libraries that warn while they are imported are imported here first: their warnings are theirs, and ours stay errors."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ray.serve import autoscaling_policy, config

__all__ = ["autoscaling_policy", "config"]
