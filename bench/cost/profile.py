"""Where CPU time goes: every few milliseconds of it, what each thread is at. Costs about a percent, so what it sees is real."""

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

EVERY_S = 0.002  # of CPU time
OURS = Path(__file__).parents[2]
SEARCH = "vector and word search"
ROOMS: Mapping[str, Sequence[str]] = {
    "database driver": ("/sqlalchemy/", "/aiosqlite/", "/sqlite3/", "/psycopg", "/greenlet/"),
    "HTTP framework": ("/fastapi/", "/starlette/", "/uvicorn/", "/anyio/", "/httptools/", "/h11/"),
    "JSON and validation": ("/json/", "/pydantic", "/msgspec/", "/jsonschema/", "/referencing/", "/copy.py"),
    "event loop and threads": ("/asyncio/", "/uvloop/", "/concurrent/", "/threading.py", "/queue.py", "/selectors.py"),
    "policy": ("/agents/policy/",),
    "store": ("/serving/stores/",),
    "HTTP, our part": ("/serving/http/", "/serving/app.py"),
    "the pack's tools": ("/agents/packs/", "/agents/tools/"),
    "agents": ("/agents/",),
    "uvloop and sockets": ("/bench/cost/",),
}
"""Part of a file's path -> whose time it is. The innermost frame that any room knows decides."""


THREADS: Mapping[str, str] = {
    "log-": "store's threads",
    "search": SEARCH,
    "": "other threads (the pack's database)",
}
"""Beginning of a thread's name -> whose time it is. Only the event loop's own frames are looked at: those of a thread that
runs on meanwhile cannot be walked safely."""


@dataclass
class Profile:
    """CPU seconds by room, and of the event loop by the innermost of our own modules with its function."""

    rooms: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    ours: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, frame: FrameType | None, seconds: float) -> None:
        self.rooms[room_of(_files(frame))] += seconds
        self.ours[_our_function(frame)] += seconds

    def add_thread(self, name: str, seconds: float) -> None:
        self.rooms[thread_room(name)] += seconds


@contextmanager
def profiling() -> Iterator[Profile]:
    """Sample this process until the block ends. Must be entered in the main thread, where the event loop runs: SIGPROF arrives
    there."""
    profile, before, here = Profile(), dict[int, float](), threading.get_ident()

    def sample(_signal: int, frame: FrameType | None) -> None:
        profile.add(frame, time.thread_time() - before.get(here, 0.0))
        for thread in threading.enumerate():
            if (ident := thread.ident) is None or ident == here:
                continue
            with suppress(OSError):  # it has just ended
                now = time.clock_gettime(time.pthread_getcpuclockid(ident))
                profile.add_thread(thread.name, now - before.get(ident, now))
                before[ident] = now
        before[here] = time.thread_time()  # what looking took is not what we look for

    before[here] = time.thread_time()
    earlier = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    try:
        yield profile
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, earlier)


def thread_room(name: str) -> str:
    """Whose time a thread's is that runs no event loop."""
    return next(room for begins, room in THREADS.items() if name.startswith(begins))


def shares_ms(counted: Mapping[str, float], turns: int, most: int) -> dict[str, float]:
    """CPU milliseconds a turn, largest first."""
    ranked = sorted(counted.items(), key=lambda item: -item[1])[:most]
    return {name: round(1000 * seconds / max(turns, 1), 3) for name, seconds in ranked if seconds > 0}


def room_of(files: Iterable[str], rooms: Mapping[str, Sequence[str]] = ROOMS) -> str:
    """Whose time a stack is: `files` of its frames, the innermost first."""
    for path in files:
        for room, parts in rooms.items():
            if any(part in path for part in parts):
                return room
    return "other"


def _files(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        yield frame.f_code.co_filename
        frame = frame.f_back


def _our_function(frame: FrameType | None) -> str:
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if OURS in path.parents and "site-packages" not in path.parts:
            return f"{path.relative_to(OURS)}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "none of ours"
