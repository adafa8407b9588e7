"""Logs of our own processes: one line a record, JSON for machines or text for a terminal, on standard error.

Only the logger "keepword" and what is below it is set up here: Ray, vLLM and the libraries write theirs as they always do.
Every line is masked, the traceback included, wherever it came from (`agents.privacy`).
"""

import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import IO, Any, Final, Literal

import msgspec

from agents.privacy import masked
from serving.observe.traces import NO_TRACES, Traces

Format = Literal["json", "text"]
ROOT: Final = "keepword"
IDS: Final = ("session_id", "turn_id")
CONTINUED: Final = "    | "
_OURS = re.compile(r'^(\{"time":"|\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z]+ +keepword|    \| )')

_ids: ContextVar[dict[str, str] | None] = ContextVar("log_ids", default=None)


@contextmanager
def logged_as(**ids: str) -> Iterator[None]:
    """Lines written inside this block, in this task and those it starts, carry these ids."""
    token = _ids.set({**(_ids.get() or {}), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def set_up(form: Format, level: str, *, traces: Traces = NO_TRACES, out: IO[str] | None = None, **always: str) -> None:
    """Write this process's lines to `out` (standard error) from now on. `always` are fields of every line."""
    logger, handler = logging.getLogger(ROOT), logging.StreamHandler(out or sys.stderr)
    handler.setFormatter((JsonLines if form == "json" else TextLines)(traces.trace_id, always))
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def is_ours(line: str) -> bool:
    """Whether a line of a process's output was written by `set_up`'s handler."""
    return _OURS.match(line) is not None


class _Lines(logging.Formatter):
    def __init__(self, trace_id: Callable[[], str], always: dict[str, str]) -> None:
        super().__init__()
        self._trace_id, self._always = trace_id, always

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """In the order of reading; ids that nobody knows are left out."""
        said = record.getMessage()
        if record.exc_info:
            said = f"{said}\n{self.formatException(record.exc_info)}"
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {"time": at, "level": record.levelname, "logger": record.name, "message": masked(said), **self._always}
        around, trace_id = _ids.get() or {}, self._trace_id()
        for name in IDS:
            if (found := record.__dict__.get(name) or around.get(name)) is not None:
                fields[name] = str(found)
        return {**fields, "trace_id": trace_id} if trace_id else fields


class JsonLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        return msgspec.json.encode(self.fields(record)).decode()


class TextLines(_Lines):
    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        time, level, logger, message = (fields.pop(name) for name in ("time", "level", "logger", "message"))
        ids = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{time} {level:<7} {logger}: {message}{ids}".replace("\n", f"\n{CONTINUED}")
