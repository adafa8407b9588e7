"""The real engine under observation, for `bench calibrate`."""

import json
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from agents.ports import Model
from bench.simulator.fit import Step, read_steps
from bench.simulator.loads import Load, Served, drive
from bench.simulator.profile import Limits


class RealEngine:
    """A model with a diary of its engine's steps."""

    def __init__(self, model: Model, limits: Limits, diary: Path) -> None:
        self._model, self.limits, self._diary = model, limits, diary

    async def drive(self, load: Load) -> list[Served]:
        return await drive(self._model, load)

    def steps(self) -> list[Step]:
        return read_steps(self._diary)


@asynccontextmanager
async def real_engine(name: str | None = None) -> AsyncGenerator[RealEngine, None]:
    """The named model of `models.toml` (the default one) in vLLM on this CPU. Starts in about a minute, ends with the block."""
    from serving.engine.config import EngineConfig
    from serving.engine.vllm_model import VllmModel
    from serving.models import ensure, entry
    from serving.models.catalog import load as catalog

    chosen = name or catalog().default
    path = ensure(chosen, quiet=True)
    with tempfile.TemporaryDirectory(prefix="keepword-calibrate-") as folder:
        diary = Path(folder, "steps.jsonl")
        recording = {
            "scheduler_cls": "bench.simulator.recorder.RecordingScheduler",
            "additional_config": {"keepword": {"structures": [], "grammar_cache": None}, "steps": str(diary)},
        }
        config = EngineConfig.of(path, "cpu", {**entry(chosen).engine["cpu"], **recording})
        model = VllmModel(config)
        try:
            yield RealEngine(model, limits_of(config.engine_arguments(), path), diary)
        finally:
            model.close()


def limits_of(arguments: Mapping[str, Any], model: Path) -> Limits:
    """The simulator's limits from vLLM's arguments and the model's own shape (its config.json, two bytes a number)."""
    shape = json.loads((model / "config.json").read_text(encoding="utf-8"))
    heads = shape["num_attention_heads"]
    width = shape.get("head_dim") or shape["hidden_size"] // heads
    of_a_token = 2 * 2 * shape["num_hidden_layers"] * shape.get("num_key_value_heads", heads) * width
    known = {field.name for field in fields(Limits)}
    return Limits(**{name: value for name, value in arguments.items() if name in known}, kv_bytes_per_token=of_a_token)
