"""vLLM's argument names, types and ranges, checked without its hardware."""

import tomllib
from importlib.resources import files
from typing import Any

import pytest

from serving.engine.validate import validate


def test_every_table_that_ships_is_valid() -> None:
    models = tomllib.loads(files("serving").joinpath("models.toml").read_text("utf-8"))["model"]
    problems = {
        f"{name}.{profile}": validate(arguments)
        for name, model in models.items()
        for profile, arguments in model["engine"].items()
    }
    assert {where: found for where, found in problems.items() if found} == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"gpu_memory_utilisation": 0.9}, "did you mean gpu_memory_utilization?"),
        ({"gpu_memory_utilization": 1.7}, "less than or equal to 1"),
        ({"tensor_parallel_size": "two"}, "integer"),
        ({"kv_cache_dtype": "fp7"}, "'fp7'"),
        ({"structures": []}, "the deployment's"),
    ],
)
def test_wrong_argument_is_reported_by_its_name(arguments: dict[str, Any], said: str) -> None:
    (problem,) = validate(arguments)
    assert problem.argument == next(iter(arguments))
    assert said in str(problem)
