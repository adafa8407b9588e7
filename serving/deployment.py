"""The desk as a Ray Serve ingress: gateway and turn loop in one replica, the engine in another."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from contextvars import Context
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from agents.domain.errors import EmptyOutput, TruncatedOutput
from agents.ports import Message, ModelRequest
from serving import garbage
from serving.app import create_app
from serving.clock import SystemClock
from serving.drain import on_drain
from serving.engine.handle import EngineHandle
from serving.loopback import keep_calls_here
from serving.observe.observing import Observing
from serving.observe.ray_replicas import asking, my_deployment, replica_id
from serving.observe.replicas import Scrape, Snapshot
from serving.openai.contract import Call
from serving.openai.remote import RemoteModel, Sent, sent
from serving.routing import affinity
from serving.scaling import scaling
from serving.serve_settings import replica_logs
from serving.settings import Settings
from serving.wiring import OpenDesk, open_desk

PROBE_DEADLINE_S = 10.0
MAX_ONGOING_REQUESTS = 2000  # streams mostly wait: Serve's default of 5 would refuse the sixth customer
NUM_CPUS = 0.5
SLACK = 64  # requests a desk may hold before another takes its sessions: most of them wait
ENDING_S = 15.0  # beyond a turn's deadline, until a replica that is to go is ended
WAIT_LOOP_S = 0.5


class DeskDeployment:
    """One replica: opens a desk over the shared store, and serves it until drained."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, settings: Settings, engine: DeploymentHandle[Any]
    ) -> None:
        keep_calls_here()
        self._settings, self._engine = settings, EngineHandle(engine)
        self._engine_answered = False
        me = replica_id()
        traces = Observing.of(settings).begin("desk", me)
        self._open: OpenDesk = await open_desk(
            settings, self._engine, SystemClock(), engine_ready=self._engine_ready, raw=RemoteModel(engine), traces=traces
        )
        desk, others = self._open.desk, {"desk": asking(my_deployment()), "engine": asking(engine)}
        desk.scrape = Scrape("desk", me, desk.metrics.book.exposition, desk.metrics.replicas, others)
        garbage.settle()
        self._draining = asyncio.create_task(on_drain(desk.store.send_followers_away))

    async def __del__(self) -> None:
        """Serve's hook, after the last request: turns nobody listens to any more are finished, too."""
        self._draining.cancel()
        await self._open.close()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._open.desk, self._open.openai)

    async def converse(self, call: Call) -> AsyncGenerator[Sent, None]:
        """A call for the model `desk` that came to an engine's replica."""
        async with aclosing(sent(self._open.openai.desk.answer(call))) as parts:
            async for part in parts:
                yield part

    async def snapshot(self) -> Snapshot:
        """This replica's metrics, for whichever replica is asked for /metrics."""
        return self._open.desk.scrape.mine()

    async def _engine_ready(self) -> None:
        """Raises until the engine has answered once; after that Serve's health checks watch it."""
        if not self._engine_answered:
            probe = ModelRequest((Message("user", "Say yes."),), max_tokens=1, deadline_s=PROBE_DEADLINE_S)
            with suppress(EmptyOutput, TruncatedOutput):  # it answered: what it said does not matter
                await asyncio.create_task(self._engine.generate(probe), context=Context())
            self._engine_answered = True


def desk_app(settings: Settings, engine: serve.Application | DeploymentHandle[Any]) -> serve.Application:
    """The whole application: this desk over that engine."""
    scale = scaling("DESK", settings.desk_replicas, settings.desk_max_replicas, settings.desk_target_ongoing)
    options = scale.options(surge=True)
    if settings.ingress == "ray":  # HAProxy goes to the desks by its own rule
        options["request_router_config"] = affinity(slack=SLACK)
    deployment: Any = serve.deployment(
        serve.ingress()(DeskDeployment),
        name="desk",
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        ray_actor_options={"num_cpus": NUM_CPUS},
        logging_config=replica_logs(settings.log_level),
        graceful_shutdown_timeout_s=settings.turn_deadline_s + ENDING_S,
        graceful_shutdown_wait_loop_s=WAIT_LOOP_S,
        **options,
    )
    application: serve.Application = deployment.bind(settings, engine)
    return application
