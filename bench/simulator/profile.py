"""What is simulated: the engine's limits, and what one of its steps costs.

A profile is found by name: `cpu` (measured on this kind of machine, `keepword bench calibrate`), `instant` (no latency, for
measuring overhead alone), or GPU-MODEL as in `l4-qwen3-8b-fp8`, derived in `roofline.py` from published figures.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from typing import Any, Final

from agents.domain.errors import NotFound, SettingsInvalid

PROFILES: Final = files("bench.simulator").joinpath("profiles")


@dataclass(frozen=True, slots=True)
class Work:
    """One step: prompt tokens computed, sequences that decode one token each, the context those read (tokens, summed), and
    (query, key) pairs of the prompt tokens' attention."""

    prefill_tokens: int
    sequences: int
    context_tokens: int
    pairs: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How many times as long as usual a machine takes now: to decode, which reads memory, and for prompts, which compute. Who
    shares the host may slow either alone."""

    decode: float = 1.0
    prompt: float = 1.0


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds of one step, as a sum of what it does; the weights are read once however few tokens there are.

    `base_s`: a step by itself. `weights_s`: the floor of the matrix products. `token_s`: a token through them.
    `prompt_s`: that there are prompt tokens at all. `prefill_s`, `sequence_s`: a prompt token's and a decoding sequence's own.
    `context_s`: a token of context read in decoding. `pair_s`: a (query, key) pair in a prompt's attention.
    """

    base_s: float = 0.0
    weights_s: float = 0.0
    token_s: float = 0.0
    prompt_s: float = 0.0
    prefill_s: float = 0.0
    sequence_s: float = 0.0
    context_s: float = 0.0
    pair_s: float = 0.0

    def step_s(self, work: Work) -> float:
        return (
            self.base_s
            + max(self.weights_s, (work.prefill_tokens + work.sequences) * self.token_s)
            + (self.prompt_s if work.prefill_tokens else 0.0)
            + work.prefill_tokens * self.prefill_s
            + work.sequences * self.sequence_s
            + work.context_tokens * self.context_s
            + work.pairs * self.pair_s
        )

    def slowed(self, pace: Pace) -> "StepCost":
        return StepCost(
            **{name: getattr(self, name) * pace.decode for name in ("base_s", "weights_s", "sequence_s", "context_s")},
            **{name: getattr(self, name) * pace.prompt for name in ("token_s", "prompt_s", "prefill_s", "pair_s")},
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """The engine's arguments that decide what a step holds, under vLLM's own names. `kv_bytes_per_token` is the model's."""

    max_model_len: int = 8192
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 2048
    block_size: int = 16
    kv_cache_memory_bytes: int = 1 << 30
    kv_bytes_per_token: int = 12_288
    enable_chunked_prefill: bool = True
    enable_prefix_caching: bool = True

    def __post_init__(self) -> None:
        """Raises SettingsInvalid for limits under which a request could wait for ever."""
        for name in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "block_size"):
            if getattr(self, name) < 1:
                raise SettingsInvalid(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.kv_blocks * self.block_size < self.max_model_len:
            raise SettingsInvalid(
                f"the KV cache holds {self.kv_blocks * self.block_size} tokens and a request may have {self.max_model_len}",
                hint="Raise kv_cache_memory_bytes or lower max_model_len.",
            )
        if not self.enable_chunked_prefill and self.max_num_batched_tokens < self.max_model_len:
            raise SettingsInvalid(
                f"without chunked prefill a step of {self.max_num_batched_tokens} tokens cannot take a prompt of "
                f"{self.max_model_len}",
                hint="Raise max_num_batched_tokens to max_model_len, or enable_chunked_prefill.",
            )

    @property
    def kv_blocks(self) -> int:
        return self.kv_cache_memory_bytes // (self.kv_bytes_per_token * self.block_size)


@dataclass(frozen=True, slots=True)
class Profile:
    """`request_s`: from the call until the scheduler can see the request, and from its last step until the caller has it; of
    it, `accept_s` is what the engine's front spends on each request before it looks at the next. `source` says where the
    figures come from."""

    name: str
    source: str
    limits: Limits
    cost: StepCost
    request_s: float = 0.0
    accept_s: float = 0.0

    def slowed(self, pace: Pace) -> "Profile":
        """The same engine on a machine of that pace; the engine's front computes."""
        request_s, accept_s = self.request_s * pace.prompt, self.accept_s * pace.prompt
        return replace(self, cost=self.cost.slowed(pace), request_s=request_s, accept_s=accept_s)

    def with_limits(self, **changed: Any) -> "Profile":
        """The same hardware and model under other limits. Raises SettingsInvalid as `Limits` does."""
        return replace(self, limits=replace(self.limits, **changed))


def load_profile(name: str) -> Profile:
    """The profile of that name. Raises NotFound naming the ones there are, SettingsInvalid for a malformed file."""
    from bench.simulator.roofline import derived, derived_names

    file = PROFILES.joinpath(f"{name}.toml")
    if file.is_file():
        return parse(name, tomllib.loads(file.read_text(encoding="utf-8")))
    if name in derived_names():
        return derived(name)
    raise NotFound(f"no engine profile named {name!r}", hint=f"There are: {', '.join(profile_names())}.")


def profile_names() -> list[str]:
    """Every profile: files first, then what is derived for GPUs."""
    from bench.simulator.roofline import derived_names

    kept = sorted(path.name.removesuffix(".toml") for path in PROFILES.iterdir() if path.name.endswith(".toml"))
    return [*(name for name in kept if name != "gpus"), *derived_names()]


def parse(name: str, document: Mapping[str, Any]) -> Profile:
    """A profile from its document: `source`, `request_s`, `accept_s`, [limits], [cost]. Raises SettingsInvalid naming the
    field."""
    known = {"source", "request_s", "accept_s", "limits", "cost", "measured"}
    for key in document:
        if key not in known:
            raise SettingsInvalid(f"profile {name}: {key} is unknown; known: {', '.join(sorted(known))}")
    limits, cost = (_table(name, document, key, kind) for key, kind in (("limits", Limits), ("cost", StepCost)))
    request_s, accept_s = (float(document.get(key, 0.0)) for key in ("request_s", "accept_s"))
    return Profile(name, str(document["source"]), Limits(**limits), StepCost(**cost), request_s, accept_s)


def _table(name: str, document: Mapping[str, Any], key: str, kind: type[Limits] | type[StepCost]) -> dict[str, Any]:
    values: dict[str, Any] = dict(document.get(key, {}))
    known = {field.name for field in fields(kind)}
    for field in values:
        if field not in known:
            raise SettingsInvalid(f"profile {name}: {key}.{field} is unknown; known: {', '.join(sorted(known))}")
    return values
