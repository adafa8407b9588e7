"""`keepword serve`: model, index and database made ready, then Ray Serve with engine and desk, until told to stop."""

import asyncio
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import ray
from ray import serve
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from agents.domain.pack import Pack
from agents.packs.loader import load_pack
from serving import serve_settings
from serving.deployment import NUM_CPUS, desk_app
from serving.engine.deployment import CHAT_PREFIX, DESK_APPLICATION, engine_app, model_app
from serving.engine.deployment import NAME as ENGINE
from serving.observe.logs import set_up
from serving.observe.observing import Observing
from serving.observe.ray_logs import show_ours
from serving.scaling import Scaling, scaling
from serving.scripted import ScriptedModel
from serving.settings import Settings, check_port
from serving.wiring import SCRIPTED, engine_config, open_engine_door, open_retriever, prepare

READY_TIMEOUT_S = 600.0
SPARE_CPUS = 3  # Ray counts tickets, not cores: engine, desk, proxy and controller share the machine


def run_until_stopped(settings: Settings, engine: serve.Application | None = None) -> None:
    """Start everything, say where it answers, and wait for SIGINT or SIGTERM; SIGHUP replaces every replica, one after the
    other, without losing a turn. Raises what made a start impossible.
    `engine` is an application to use in place of the configured model's (`engine.deployment.model_app`)."""
    console, began = Console(stderr=True, soft_wrap=True), time.monotonic()
    signal.signal(signal.SIGTERM, _interrupt)
    for port in serve_settings.ports(settings):
        check_port(settings.host, port)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    log_format = settings.log_format or ("text" if sys.stderr.isatty() else "json")
    settings = settings.model_copy(update={"data_dir": settings.data_dir.resolve(), "log_format": log_format})
    set_up(log_format, settings.log_level, service="serve")
    pack = load_pack(settings.pack, overrides=settings.overrides)
    _make_index(settings, pack, console)
    asyncio.run(prepare(settings))
    again = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: again.set())
    try:
        with _spinning(console, f"starting the engine ({settings.model}) and the desk"):
            deploy = _start(settings, pack, engine)
        signal.signal(signal.SIGTERM, _interrupt)  # Ray put its own there, which ends this process at once
        url = f"http://{settings.host}:{settings.port}"
        took = time.monotonic() - began
        _say_who_may_enter(settings, console)
        console.print(f"[green]ready[/green] after {took:.0f} s: page and API at {url}, schema at {url}/docs")
        while again.wait():
            again.clear()
            with _spinning(console, "replacing the replicas"):
                deploy()
            console.print("[green]replaced[/green] every replica")
    except KeyboardInterrupt:
        pass
    finally:
        if ray.is_initialized():
            with _spinning(console, "finishing the turns under way"):
                serve.shutdown()  # type: ignore[no-untyped-call]
                ray.shutdown()
            serve_settings.tidy(settings)


def _say_who_may_enter(settings: Settings, console: Console) -> None:
    if not settings.wants_keys:
        console.print(f"[bold yellow]open desk[/bold yellow]: no API key is needed at {settings.host}:{settings.port}")
    if settings.offers_dev:
        console.print("[bold yellow]development desk[/bold yellow]: anyone who reaches it may be any test customer")
    if settings.wants_keys:
        console.print("an API key is needed: `keepword keys create NAME` makes one", highlight=False)


def _interrupt(*_: object) -> None:
    """SIGTERM ends the stack as Ctrl-C does, also while it starts."""
    raise KeyboardInterrupt


def _start(settings: Settings, pack: Pack, engine: serve.Application | None) -> Callable[[], None]:
    """What deploys it all; again, every replica is replaced."""
    serve_settings.apply(settings, os.environ)
    scale = engine_scaling(settings)
    brought, open_door = engine is not None, partial(open_engine_door, settings) if settings.direct_chat else None
    observing = Observing.of(settings)
    if engine is not None:
        pass
    elif settings.model == SCRIPTED:
        engine = model_app(partial(ScriptedModel, silent), scale=scale, open_door=open_door, observing=observing)
    else:
        engine = engine_app(engine_config(settings, pack), scale=scale, open_door=open_door, observing=observing)
    desks = settings.desk_max_replicas or settings.desk_replicas
    ray.init(
        num_cpus=SPARE_CPUS + scale.most + math.ceil(2 * desks * NUM_CPUS),  # twice: a rolling restart has both
        include_dashboard=False,
        log_to_driver=True,
        logging_level=logging.WARNING,
        configure_logging=False,
    )
    show_ours(rays_too=settings.log_level == "DEBUG")
    serve.start(http_options={"host": settings.host, "port": settings.port}, logging_config={"log_level": settings.log_level})
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    deploy = partial(_deploy, settings, engine, direct=settings.direct_chat and not brought)
    deploy()
    return deploy


def engine_scaling(settings: Settings) -> Scaling:
    return scaling("ENGINE", settings.engine_replicas, settings.engine_max_replicas, settings.engine_target_ongoing)


def _deploy(settings: Settings, engine: serve.Application, *, direct: bool) -> None:
    """`direct`: an engine's replica answers chat requests itself, without the desk in between."""
    handle = serve.run(engine, name=ENGINE, route_prefix=CHAT_PREFIX if direct else None)
    serve.run(desk_app(settings, handle), name=DESK_APPLICATION, route_prefix="/")


def silent(_request: object) -> str:
    """The scripted model of `--model scripted`: it says nothing usable, and the desk answers without a model."""
    return ""


def _make_index(settings: Settings, pack: Pack, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("retrieval index", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=f"retrieval index: {what}", completed=done, total=total)

        open_retriever(settings, pack, show)


@contextmanager
def _spinning(console: Console, what: str) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield
