"""Checks a model's engine arguments with vLLM's own types, on a machine that need not have the model's hardware or files.

Checked: that every argument exists, that its value passes the type and the range vLLM's configuration classes give it, and
that it is not one Keepword sets itself. Not checked, because it needs the device or the files: that the model fits into memory,
that a kernel for its quantization exists on that card, that `tensor_parallel_size` cards are there, and combinations vLLM
refuses only while it builds its final configuration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Annotated, Any, Final

from pydantic import ConfigDict, ValidationError, create_model

from serving.engine.config import OURS

CHECKED: Final = ("argument names", "value types and ranges", "arguments Keepword sets itself")
NOT_CHECKED: Final = ("fit in device memory", "kernels on the device", "number of devices", "the model's files")


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong argument: its name and what is wrong with it."""

    argument: str
    message: str

    def __str__(self) -> str:
        return f"{self.argument}: {self.message}"


def validate(arguments: Mapping[str, Any]) -> tuple[Problem, ...]:
    """Every problem in one `[model.NAME.engine.PROFILE]` table; empty when there is none. Loads vLLM (seconds)."""
    types = dict(_argument_types())
    return tuple(problem for name, value in arguments.items() if (problem := _problem(name, value, types)) is not None)


def _problem(name: str, value: Any, types: Mapping[str, Any]) -> Problem | None:
    if name in OURS:
        return Problem(name, "is the deployment's to set, not the model's")
    if name not in types:
        near = get_close_matches(name, types, n=1)
        return Problem(name, "is not an argument of the engine" + (f"; did you mean {near[0]}?" if near else ""))
    one = create_model("Argument", __config__=ConfigDict(arbitrary_types_allowed=True), value=(types[name], ...))
    try:
        one.model_validate({"value": value})
    except ValidationError as error:
        first = error.errors()[0]
        return Problem(name, f"{first['msg']}, and is {value!r}")
    return None


def _argument_types() -> Iterator[tuple[str, Any]]:
    """Every engine argument with its type: the configuration class's own, ranges included, where it has the argument."""
    from vllm.config import CacheConfig, LoadConfig, ModelConfig, ParallelConfig, SchedulerConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

    ranged: dict[str, Any] = {}
    configs: tuple[Any, ...] = (LoadConfig, ModelConfig, CacheConfig, ParallelConfig, SchedulerConfig)
    for config in configs:
        own: Mapping[str, Any] = config.__pydantic_fields__
        for name, info in own.items():
            ranged[name] = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    for argument in fields(AsyncEngineArgs):
        written: Any = argument.type
        yield argument.name, ranged.get(argument.name, written)
