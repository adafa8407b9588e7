"""Profiles of GPUs nobody here could run, derived from published figures by a roofline.

A decoding step reads the weights once and the keys and values of every context; its matrix products take two operations per
parameter and token; the slower of the two decides, each at the share of its peak that published runs reached.
`profiles/gpus.toml` holds every figure with its source; `published.py` compares what follows with runs others measured.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from bench.simulator.profile import PROFILES, Limits, Profile, StepCost

GIB: Final = 1 << 30
KV_SHARE_OVERHEAD: Final = 2 * GIB
"""Of the card's memory, what activations, graphs and the runtime take beside weights and keys and values."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """`bandwidth` in bytes/s, `flops` dense tensor operations/s by number format, `arithmetic` the share of them reached."""

    memory_bytes: float
    bandwidth: float
    flops: Mapping[str, float]
    arithmetic: float
    price_per_hour_usd: float
    source: str


@dataclass(frozen=True, slots=True)
class Weights:
    """A model: parameters, bytes of its weights, keys and values of one token in bytes, the format its products run in."""

    parameters: float
    weights_bytes: float
    kv_bytes_per_token: int
    query_width: int
    layers: int
    compute: str
    source: str


@dataclass(frozen=True, slots=True)
class Shares:
    """`memory`: of the peak bandwidth, what runs reach. `step_s`, `sequence_s`: what a step and a sequence cost beside memory
    and arithmetic. `request_s`: HTTP, tokenizer and queue before the first step."""

    memory: float
    step_s: float
    sequence_s: float
    request_s: float
    source: str


def derived_names() -> list[str]:
    """GPU-MODEL for every model that fits on the card with room for 16,384 tokens."""
    gpus, models, _shares, limits = _figures()
    return [f"{gpu}-{model}" for gpu in gpus for model in models if _kv_bytes(gpus[gpu], models[model], limits) > 0]


def gpu_of(name: str) -> Gpu:
    """The card of a derived profile. Raises KeyError for another profile."""
    return _figures()[0][name.partition("-")[0]]


def derived(name: str) -> Profile:
    """The profile GPU-MODEL. Raises KeyError for a name that `derived_names` does not list."""
    gpus, models, shares, limits = _figures()
    gpu_name, _dash, model_name = name.partition("-")
    gpu, model = gpus[gpu_name], models[model_name]
    arithmetic = gpu.flops[model.compute] * gpu.arithmetic
    bandwidth = gpu.bandwidth * shares.memory
    cost = StepCost(
        base_s=shares.step_s,
        weights_s=model.weights_bytes / bandwidth,
        token_s=2 * model.parameters / arithmetic,
        sequence_s=shares.sequence_s,
        context_s=model.kv_bytes_per_token / bandwidth,
        pair_s=4 * model.layers * model.query_width / (gpu.flops["bf16"] * gpu.arithmetic),
    )
    held = Limits(
        **limits,
        kv_cache_memory_bytes=_kv_bytes(gpu, model, limits),
        kv_bytes_per_token=model.kv_bytes_per_token,
    )
    source = f"derived by a roofline. {gpu.source} {model.source} {shares.source}"
    return Profile(name, source, held, cost, shares.request_s)


def _kv_bytes(gpu: Gpu, model: Weights, limits: Mapping[str, Any]) -> int:
    """What is left for keys and values; 0 when one request of full length would not fit."""
    left = int(gpu.memory_bytes * 0.9 - model.weights_bytes - KV_SHARE_OVERHEAD)
    return left if left >= limits["max_model_len"] * model.kv_bytes_per_token else 0


@cache
def _figures() -> tuple[dict[str, Gpu], dict[str, Weights], Shares, dict[str, Any]]:
    document = tomllib.loads(PROFILES.joinpath("gpus.toml").read_text(encoding="utf-8"))
    gpus = {name: Gpu(**values) for name, values in document["gpu"].items()}
    models = {name: Weights(**values) for name, values in document["model"].items()}
    return gpus, models, Shares(**document["shares"]), dict(document["limits"])
