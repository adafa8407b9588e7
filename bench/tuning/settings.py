"""What is searched: vLLM's arguments and Serve's admission, as optuna suggests them and as `models.toml` writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import optuna

from bench.simulator.desk_turns import Admission
from bench.simulator.profile import Limits, Profile

SEARCHED: Final = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "kv_cache_memory_bytes",
)
STEP_TOKENS: Final = (256, 512, 1024, 2048, 4096, 8192, 16384)
BLOCKS: Final = (16, 32, 64, 128)
SHARES: Final = (0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """One candidate. `engine` under vLLM's names."""

    engine: Mapping[str, Any]
    admission: Admission

    def applied(self, profile: Profile) -> Profile:
        """Raises SettingsInvalid for a combination the engine would refuse."""
        return profile.with_limits(**self.engine)


def default_settings(limits: Limits) -> Settings:
    """What the profile has now, behind Serve as Keepword sets it: twice the engine's places, and no end to the queue."""
    engine = {name: getattr(limits, name) for name in SEARCHED}
    return Settings(engine, Admission(max_ongoing_requests=2 * limits.max_num_seqs))


def suggested(trial: optuna.Trial | optuna.trial.FixedTrial, limits: Limits, *, serve: bool = True) -> Settings:
    """A candidate within what such an engine can take; `limits` are the profile's own. Without `serve` its part stays."""
    places = trial.suggest_int("max_num_seqs", 8, 1024, log=True)
    engine = {
        "max_num_seqs": places,
        "max_num_batched_tokens": trial.suggest_categorical("max_num_batched_tokens", STEP_TOKENS),
        "block_size": trial.suggest_categorical("block_size", BLOCKS),
        "enable_chunked_prefill": trial.suggest_categorical("enable_chunked_prefill", [True, False]),
        "enable_prefix_caching": trial.suggest_categorical("enable_prefix_caching", [True, False]),
        "kv_cache_memory_bytes": int(limits.kv_cache_memory_bytes * trial.suggest_categorical("kv_share", SHARES)),
    }
    if not serve:
        return Settings(engine, default_settings(limits).admission)
    ongoing = trial.suggest_int("max_ongoing_requests", 4, 2048, log=True)
    return Settings(engine, Admission(ongoing, trial.suggest_int("max_queued_requests", 1, 1024, log=True)))


def as_toml(model: str, profile: str, settings: Settings, said: str) -> str:
    """The table `[model.NAME.engine.PROFILE]` of serving/models.toml, and Serve's part as comments beside it."""
    lines = [f"{name} = {str(value).lower()}" for name, value in settings.engine.items()]
    admission = settings.admission
    serve = (
        f"# Ray Serve, engine deployment: max_ongoing_requests = {admission.max_ongoing_requests}, "
        f"max_queued_requests = {admission.max_queued_requests}"
    )
    return "\n".join([f"# {said}", serve, f'[model."{model}".engine.{profile}]', *lines, ""])
