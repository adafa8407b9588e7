"""The Ray Serve deployment that hosts a model, and the application that hosts vLLM.

`handle.py` is the other end. Nothing here imports vLLM: only the replica does, when it starts.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from ray import serve

from agents.domain.errors import EngineUnavailable, KeepwordError
from agents.ports import Message, Model, ModelRequest, Structure
from serving import garbage
from serving.engine.config import EngineConfig
from serving.engine.wire import Answer, Piece, joined, to_wire
from serving.loopback import keep_calls_here
from serving.observe.engine import EngineMetrics, ServedModel
from serving.observe.observing import Observing
from serving.observe.ray_replicas import replica_id
from serving.observe.replicas import Snapshot
from serving.observe.traces import NO_TRACES
from serving.openai.access import AdmittedModel, Door
from serving.openai.contract import Call, Load, RawModel
from serving.openai.port import PortModel
from serving.openai.remote import RemoteDesk, Sent, sent
from serving.openai.routes import OpenAIApi, chat_app
from serving.routing import affinity
from serving.scaling import Scaling
from serving.serve_settings import replica_logs

NAME: Final = "engine"
CHAT_PREFIX: Final = "/v1/chat"  # what of the OpenAI surface an engine's replica answers itself
DESK_APPLICATION: Final = "keepword"
WARM_UP_DEADLINE_S: Final = 120.0
FINISHING_S: Final = 30.0  # a request's usual deadline: so long a replica that is to go finishes what it has
SLACK: Final = 4  # requests an engine may decode at once before another takes over a session: few cost each other little
ONE: Final = Scaling(1, None, 1.0)


class EngineDeployment:
    """One replica. `open_model` builds the model it hosts, once, in the replica's own process; `name` is what OpenAI
    clients call it. With `open_door` the replica answers chat completions over HTTP too: a raw model's tokens need not
    pass a desk. `observing` None: this process keeps its logs as they are and makes no spans."""

    def __init__(
        self,
        open_model: Callable[[], Model],
        name: str,
        open_door: Callable[[], Door] | None = None,
        observing: Observing | None = None,
    ) -> None:
        keep_calls_here()
        self._replica = replica_id()
        traces = NO_TRACES if observing is None else observing.begin(NAME, self._replica)
        self._metrics = EngineMetrics()
        self._hosted = open_model()
        self._model = ServedModel(self._hosted, self._metrics, traces)
        self._raw, self._name, self._open_door = raw_model(self._hosted, name), name, open_door
        self._warm = False

    def __serve_build_asgi_app__(self) -> FastAPI:
        if self._open_door is None:  # reached by handles alone
            return FastAPI(openapi_url=None)
        door = self._open_door()
        return chat_app(OpenAIApi(AdmittedModel(self._raw, door.admission), self._name, RemoteDesk(DESK_APPLICATION)), door)

    async def openai(self, call: Call) -> AsyncGenerator[Sent, None]:
        """An OpenAI call that came to another replica. Cancelling it frees its place, as with `stream`."""
        async with aclosing(sent(self._raw.answer(call))) as parts:
            async for part in parts:
                yield part

    async def generate(self, request: ModelRequest) -> Answer:
        try:
            return await self._model.generate(request)
        except KeepwordError as error:
            return to_wire(error)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Piece, None]:
        """Chunks, or a Failure as the last one. Cancelling the call closes the model's stream, which frees its place."""
        try:
            async with aclosing(joined(self._model.stream(request))) as chunks:
                async for chunk in chunks:
                    yield chunk
        except KeepwordError as error:
            yield to_wire(error)

    async def load(self) -> Load:
        return await self._raw.load()

    async def check_health(self) -> None:
        """Ray Serve's hook, also called before the replica counts as ready: that first time the model is warmed up."""
        if not self._warm:
            await warm_up(self._hosted)
            garbage.settle()
            self._warm = True
            self._lag = asyncio.create_task(self._metrics.loop_lag.watch())
        check = getattr(self._hosted, "check_health", None)
        if check is not None:
            await check()

    async def snapshot(self) -> Snapshot:
        """This replica's metrics."""
        return Snapshot(NAME, self._replica, self._metrics.book.exposition())


def raw_model(model: Model, name: str) -> RawModel:
    """The model's own OpenAI layer where it has one, ours over the port where not."""
    own: Callable[[], RawModel] | None = getattr(model, "raw_model", None)
    return own() if own is not None else PortModel(model, name)


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
    scale: Scaling = ONE,
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    open_door: Callable[[], Door] | None = None,
    observing: Observing | None = None,
) -> serve.Application:
    """vLLM under Ray Serve. The replica's environment carries the preloads and thread binding, which its children inherit.
    vLLM queues by itself, so a replica takes twice what it decodes at once; admission is the gateway's."""
    options: dict[str, Any] = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "runtime_env": {"env_vars": config.environment(os.environ)},
    }
    deployment = _deployment(scale, config.max_num_seqs * 2, options, observing, surge=False)
    application: serve.Application = deployment.bind(partial(open_vllm, config), config.name, open_door, observing)
    return application


def model_app(
    open_model: Callable[[], Model],
    *,
    name: str = "scripted",
    max_ongoing_requests: int = 64,
    scale: Scaling = ONE,
    open_door: Callable[[], Door] | None = None,
    observing: Observing | None = None,
) -> serve.Application:
    """Any other model (a scripted one) behind the same handle, and the same door."""
    deployment = _deployment(scale, max_ongoing_requests, {"num_cpus": 0}, observing, surge=True)
    application: serve.Application = deployment.bind(open_model, name, open_door, observing)
    return application


def open_vllm(config: EngineConfig) -> Model:
    from serving.engine.vllm_model import VllmModel

    return VllmModel(config)


def _deployment(
    scale: Scaling, max_ongoing_requests: int, actor_options: dict[str, Any], observing: Observing | None, *, surge: bool
) -> Any:
    log_level = "INFO" if observing is None else observing.log_level
    # A session's prompts share their beginning, and so do a conversation's: one replica's prefix cache has it.
    return serve.deployment(
        serve.ingress()(EngineDeployment),
        name=NAME,
        max_ongoing_requests=max_ongoing_requests,
        ray_actor_options=actor_options,
        health_check_timeout_s=WARM_UP_DEADLINE_S,
        logging_config=replica_logs(log_level),
        graceful_shutdown_timeout_s=FINISHING_S,
        graceful_shutdown_wait_loop_s=0.5,
        request_router_config=affinity(slack=SLACK),
        **scale.options(surge=surge),
    )
