"""The proxies that stand before the same simulated engine, and how each is started."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import free_port

MODEL = "simulated"
SERVED_AS = {"KEEPWORD_MODEL": MODEL}  # our stack answers to the name the others use
KEY = "sk-local-comparison"


@dataclass(frozen=True, slots=True)
class Started:
    """A proxy's command, its environment, and the address that answers when it is ready."""

    command: tuple[str, ...]
    ready: str
    url: str
    env: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """`language` is what its request path is written in. `start` takes the environment's folder, a scratch folder and the
    engine's URL."""

    name: str
    language: str
    start: Callable[[Path, Path, str], Started]


def _vllm_router(environment: Path, _scratch: Path, engine: str) -> Started:
    port = free_port()
    command = (
        str(environment / "bin" / "vllm-router"),
        *("--host", "127.0.0.1", "--port", str(port), "--worker-urls", engine),
        *("--policy", "round_robin", "--prometheus-port", str(free_port()), "--log-level", "warning"),
    )
    url = f"http://127.0.0.1:{port}"
    return Started(command, f"{url}/health", url)


def _smg(environment: Path, _scratch: Path, engine: str) -> Started:
    port = free_port()
    command = (
        str(environment / "bin" / "smg"),
        "launch",
        *("--host", "127.0.0.1", "--port", str(port), "--worker-urls", engine),
        *("--policy", "round_robin", "--prometheus-port", str(free_port()), "--log-level", "warn"),
    )
    url = f"http://127.0.0.1:{port}"
    return Started(command, f"{url}/health", url)


LITELLM = """model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: {engine}/v1
      api_key: none
general_settings:
  master_key: {key}
"""


def _litellm(environment: Path, scratch: Path, engine: str) -> Started:
    port, config = free_port(), scratch / "litellm.yaml"
    config.write_text(LITELLM.format(model=MODEL, engine=engine, key=KEY), encoding="utf-8")
    command = (
        str(environment / "bin" / "litellm"),
        *("--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False", "--num_workers", "1"),
    )
    url = f"http://127.0.0.1:{port}"
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    return Started(command, f"{url}/health/liveliness", url, env, KEY)


PROXIES = (
    Proxy("vllm-router", "Rust", _vllm_router),
    Proxy("smg", "Rust", _smg),
    Proxy("litellm", "Python", _litellm),
)
