"""Whose CPU time a serving process spends: ours, Ray's or the embedder's, looked at from outside while it serves.

What each thread takes is read from the operating system. The event loop's is shared out by py-spy's samples of what holds the
interpreter's lock: a thread that only looks busy, while it waits, counts nothing. The store's and the search's threads are
told by their names. Threads that run no Python (Ray's core worker, gRPC) are Ray's, and so is the one in which gRPC's asyncio
waits for its sockets: it is Python's by name only. What the embedder takes the desk itself measures, by thread.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench.cost.profile import ROOMS, SEARCH, room_of, thread_room

RATE_PER_S: Final = 100
RAY, EMBEDDER, NATIVE = "Ray", "embedder", "native threads (Ray's core worker, gRPC)"
NOT_OURS: Final = (RAY, EMBEDDER, NATIVE)
SOAK_ROOMS: Final[Mapping[str, Sequence[str]]] = {RAY: ("/ray/", "/grpc/"), **ROOMS}
EVENT_LOOPS: Final = ("AsyncIO Thread", "MainThread")
UNSEEN: Final = "event loop and threads"  # a loop that was never seen to hold the lock
_POLLER: Final = "_poll_wrapper"  # of gRPC's PollerCompletionQueue, in the thread's name
_THREAD: Final = re.compile(r"thread \((\d+)\)")
_FILE: Final = re.compile(r"\((.*?)(?::\d+)?\)$")


@dataclass(frozen=True, slots=True)
class Sampled:
    """CPU seconds of one process by room while it was sampled; the embedder's are part of the search's."""

    rooms: Mapping[str, float]

    def by_room(self, cpu_ms: float, embedding_ms: float) -> dict[str, float]:
        """`cpu_ms` of this process shared out, `embedding_ms` of them being the embedder's."""
        total = max(1e-9, sum(self.rooms.values()))
        rooms = {room: cpu_ms * seconds / total for room, seconds in self.rooms.items()}
        rooms[SEARCH] = max(0.0, rooms.get(SEARCH, 0.0) - embedding_ms)
        return {**rooms, EMBEDDER: embedding_ms}


async def sample(pid: int, seconds: float) -> Sampled | None:
    """None where py-spy is not installed or may not look (it needs the right to trace the process)."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        return None
    with tempfile.TemporaryDirectory(prefix="keepword-spy-") as folder, suppress(psutil.Error):
        out = Path(folder) / "stacks"
        watched = await _output(spy, "dump", "--json", "--nonblocking", "--pid", str(pid))
        before = thread_cpu_s(pid)
        record = ("record", "--format", "raw", "--full-filenames", "--threads", "--gil", "--nonblocking")
        how = ("--rate", str(RATE_PER_S), "--duration", f"{max(1, round(seconds))}", "--output", str(out), "--pid", str(pid))
        done = await _output(spy, *record, *how)
        after = thread_cpu_s(pid)
        if watched is None or done is None or not out.exists():
            return None
        names = {
            int(each["os_thread_id"]): str(each["thread_name"] or "") for each in json.loads(watched) if each["os_thread_id"]
        }
        return shared_out(out.read_text(encoding="utf-8").splitlines(), before, after, names)
    return None  # the process ended meanwhile


def shared_out(
    stacks: Iterable[str], before: Mapping[int, float], after: Mapping[int, float], names: Mapping[int, str]
) -> Sampled:
    """`stacks` as py-spy writes them: the thread, frames from the outermost, `;` between them, and how often. Threads' CPU in
    seconds; `names` of those that run Python."""
    seen: dict[int, Counter[str]] = defaultdict(Counter)
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        if (thread := _THREAD.match(frames)) is not None and count.isdigit():
            seen[int(thread.group(1))][room_of(_files(frames), SOAK_ROOMS)] += int(count)
    rooms: defaultdict[str, float] = defaultdict(float, {NATIVE: 0.0})
    for thread_id, seconds in after.items():
        spent = max(0.0, seconds - before.get(thread_id, 0.0))
        for room, share in _shares(names.get(thread_id), seen[thread_id]).items():
            rooms[room] += spent * share
    return Sampled(dict(rooms))


def _shares(name: str | None, seen: Counter[str]) -> Mapping[str, float]:
    """Whose a thread's time is, shares that sum to 1."""
    if name is None:
        return {NATIVE: 1.0}
    if _POLLER in name:
        return {RAY: 1.0}
    if not name.startswith(EVENT_LOOPS):
        return {thread_room(name): 1.0}
    return {room: count / seen.total() for room, count in seen.items()} or {UNSEEN: 1.0}


def thread_cpu_s(pid: int) -> dict[int, float]:
    """CPU seconds so far, user and system, of each thread that lives."""
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process(pid).threads()}


def _files(frames: str) -> list[str]:
    """The files of a stack, innermost first."""
    found = (_FILE.search(frame) for frame in reversed(frames.split(";")))
    return [match.group(1) for match in found if match is not None]


async def _output(*command: str) -> bytes | None:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return out if process.returncode == 0 else None


def as_detail(sampled: Sampled | None, cpu_ms_a_turn: float, embedding_ms: float) -> dict[str, Any]:
    """A turn's milliseconds by room."""
    if sampled is None:
        return {"known": False}
    rooms = {room: round(each, 3) for room, each in sampled.by_room(cpu_ms_a_turn, embedding_ms).items()}
    return {"known": True, "seconds_sampled": round(sum(sampled.rooms.values()), 2), "cpu_ms_a_turn": rooms}
