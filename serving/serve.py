"""`keepword serve`: model, index and database made ready, then Ray Serve with engine and desk, until told to stop."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import ray
from ray import serve
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from agents.domain.pack import Pack
from agents.packs.loader import load_pack
from serving.deployment import desk_app
from serving.engine.deployment import engine_app, model_app
from serving.observe.logs import set_up
from serving.observe.observing import Observing
from serving.observe.ray_logs import show_ours
from serving.scripted import ScriptedModel
from serving.settings import Settings, check_port
from serving.wiring import SCRIPTED, engine_config, open_retriever

READY_TIMEOUT_S = 600.0
LOGICAL_CPUS = 4  # Ray counts tickets, not cores: engine, desk, proxy and controller share the machine
QUIET = {"RAY_DEDUP_LOGS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def run_until_stopped(settings: Settings) -> None:
    """Start everything, say where it answers, and wait for SIGINT or SIGTERM. Raises what made a start impossible."""
    console, began = Console(stderr=True, soft_wrap=True), time.monotonic()
    signal.signal(signal.SIGTERM, _interrupt)
    check_port(settings.host, settings.port)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    log_format = settings.log_format or ("text" if sys.stderr.isatty() else "json")
    settings = settings.model_copy(update={"data_dir": settings.data_dir.resolve(), "log_format": log_format})
    set_up(log_format, settings.log_level, service="serve")
    pack = load_pack(settings.pack, overrides=settings.overrides)
    _make_index(settings, pack, console)
    try:
        with _spinning(console, f"starting the engine ({settings.model}) and the desk"):
            _start(settings, pack)
        url = f"http://{settings.host}:{settings.port}"
        took = time.monotonic() - began
        console.print(f"[green]ready[/green] after {took:.0f} s: page and API at {url}, schema at {url}/docs")
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        if ray.is_initialized():
            with _spinning(console, "finishing the turns under way"):
                serve.shutdown()  # type: ignore[no-untyped-call]
                ray.shutdown()


def _interrupt(*_: object) -> None:
    """SIGTERM ends the stack as Ctrl-C does, also while it starts."""
    raise KeyboardInterrupt


def _start(settings: Settings, pack: Pack) -> None:
    os.environ.update(QUIET)
    if settings.model == SCRIPTED:
        engine = model_app(partial(ScriptedModel, silent), observing=Observing.of(settings))
    else:
        engine = engine_app(engine_config(settings, pack), observing=Observing.of(settings))
    ray.init(
        num_cpus=LOGICAL_CPUS,
        include_dashboard=False,
        log_to_driver=True,
        logging_level=logging.WARNING,
        configure_logging=False,
    )
    show_ours(rays_too=settings.log_level == "DEBUG")
    serve.start(http_options={"host": settings.host, "port": settings.port}, logging_config={"log_level": settings.log_level})
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.run(desk_app(settings, engine), name="keepword", route_prefix="/")


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
