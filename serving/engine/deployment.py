"""The Ray Serve deployment that hosts a model, and the application that hosts vLLM.

`handle.py` is the other end. Nothing here imports vLLM: only the replica does, when it starts.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from ray import serve
from ray.serve.config import RequestRouterConfig

from agents.domain.errors import EngineUnavailable, KeepwordError
from agents.ports import Message, Model, ModelRequest, Structure
from serving.engine.config import EngineConfig
from serving.engine.wire import Answer, Piece, to_wire
from serving.observe.engine import EngineMetrics, ServedModel
from serving.observe.observing import Observing
from serving.observe.ray_replicas import replica_id
from serving.observe.replicas import Snapshot
from serving.observe.traces import NO_TRACES

NAME: Final = "engine"
AFFINITY_ROUTER: Final[Any] = "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"
WARM_UP_DEADLINE_S: Final = 120.0


class EngineDeployment:
    """One replica. `open_model` builds the model it hosts, once, in the replica's own process. `observing` None: this process
    keeps its logs as they are and makes no spans."""

    def __init__(self, open_model: Callable[[], Model], observing: Observing | None = None) -> None:
        self._replica = replica_id()
        traces = NO_TRACES if observing is None else observing.begin(NAME, self._replica)
        self._metrics = EngineMetrics()
        self._hosted = open_model()
        self._model = ServedModel(self._hosted, self._metrics, traces)
        self._warm = False

    async def generate(self, request: ModelRequest) -> Answer:
        try:
            return await self._model.generate(request)
        except KeepwordError as error:
            return to_wire(error)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Chunks, or a Failure as the last one. Cancelling the call closes the model's stream, which frees its place."""
        try:
            async with aclosing(self._model.stream(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except KeepwordError as error:
            yield to_wire(error)

    async def check_health(self) -> None:
        """Ray Serve's hook, also called before the replica counts as ready: that first time the model is warmed up."""
        if not self._warm:
            await warm_up(self._hosted)
            self._warm = True
            self._lag = asyncio.create_task(self._metrics.loop_lag.watch())
        check = getattr(self._hosted, "check_health", None)
        if check is not None:
            await check()

    async def snapshot(self) -> Snapshot:
        """This replica's metrics."""
        return Snapshot(NAME, self._replica, self._metrics.book.exposition())


async def warm_up(model: Model) -> None:
    """One small request of each sort: first uses set up kernels and masks, and no customer should wait for that."""
    request = ModelRequest((Message("user", "Say yes."),), max_tokens=4, deadline_s=WARM_UP_DEADLINE_S)
    structured = ModelRequest(
        request.messages,
        max_tokens=8,
        structure=Structure("choice", '["yes","no"]'),
        deadline_s=WARM_UP_DEADLINE_S,
        logprobs=2,
    )
    for one in (request, structured):
        try:
            await model.generate(one)
        except EngineUnavailable:
            raise
        except KeepwordError:
            continue  # it ran; what it said does not matter


def engine_app(
    config: EngineConfig,
    *,
    replicas: int = 1,
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    observing: Observing | None = None,
) -> serve.Application:
    """vLLM under Ray Serve. The replica's environment carries the preloads and thread binding, which its children inherit.
    vLLM queues by itself, so a replica takes twice what it decodes at once; admission is the gateway's."""
    options: dict[str, Any] = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "runtime_env": {"env_vars": config.environment(os.environ)},
    }
    deployment = _deployment(replicas, config.max_num_seqs * 2, options)
    application: serve.Application = deployment.bind(partial(open_vllm, config), observing)
    return application


def model_app(
    open_model: Callable[[], Model],
    *,
    max_ongoing_requests: int = 64,
    replicas: int = 1,
    observing: Observing | None = None,
) -> serve.Application:
    """Any other model (a scripted one) behind the same handle."""
    deployment = _deployment(replicas, max_ongoing_requests, {"num_cpus": 0})
    application: serve.Application = deployment.bind(open_model, observing)
    return application


def open_vllm(config: EngineConfig) -> Model:
    from serving.engine.vllm_model import VllmModel

    return VllmModel(config)


def _deployment(replicas: int, max_ongoing_requests: int, actor_options: dict[str, Any]) -> Any:
    # A session's turns share a prompt prefix: sending them to one replica is what makes its prefix cache hit.
    router = RequestRouterConfig(request_router_class=AFFINITY_ROUTER) if replicas > 1 else RequestRouterConfig()
    return serve.deployment(
        EngineDeployment,
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=max_ongoing_requests,
        ray_actor_options=actor_options,
        health_check_timeout_s=WARM_UP_DEADLINE_S,
        graceful_shutdown_timeout_s=10,
        request_router_config=router,
    )
