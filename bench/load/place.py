"""Where a load goes: a stack that runs already, or one of its own for the time of the benchmark."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load.plan import loopback
from bench.load.watch import Watch
from bench.postgres import running_postgres
from bench.stack import SIMULATED, running_stack


@dataclass(frozen=True, slots=True)
class Place:
    """An address under load. `watch` is None when the processes behind it cannot be seen; `database_url` and `data_dir` are
    empty for a stack that is not ours."""

    url: str
    watch: Watch | None
    engine: str
    database_url: str = ""
    data_dir: Path | None = None


@contextmanager
def place(
    url: str | None, *, engine: str, postgres: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[Place]:
    """The stack at `url`, or one of our own on SQLite or PostgreSQL. `engine` is `simulated:PROFILE` or a model's name."""
    with ExitStack() as stack:
        if url is not None:
            yield Place(loopback(url), _watch(loopback(url)), "as running")
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keepword-load-")))
        simulated = engine.startswith(SIMULATED)
        given = {"KEEPWORD_LOG_LEVEL": "WARNING", **(settings or {}), **({} if simulated else {"KEEPWORD_MODEL": engine})}
        database_url = stack.enter_context(running_postgres(folder / "postgres")) if postgres else ""
        if database_url:
            given["KEEPWORD_DATABASE_URL"] = database_url
        running = stack.enter_context(running_stack(folder / "state", settings=given, engine=engine if simulated else ""))
        yield Place(running.url, _watch(running.url), engine, database_url, folder / "state")


def _watch(url: str) -> Watch | None:
    try:
        return Watch.of(url, time.monotonic)
    except LookupError:
        return None
