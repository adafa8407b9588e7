"""Whose CPU time a serving process spends: ours, Ray's or the embedder's, by sampling it from outside while it serves.

py-spy looks at the Python threads; what native threads take (Ray's core worker, gRPC) is read from the operating system and
counts as Ray's: the code that is ours runs in Python threads. The thread in which gRPC's asyncio waits for its
sockets counts as Ray's, too: it is Python's by name only.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from bench.cost.profile import ROOMS, room_of

RATE_PER_S: Final = 100
RAY, EMBEDDER, NATIVE = "Ray", "embedder", "native threads (Ray's core worker, gRPC)"
NOT_OURS: Final = (RAY, EMBEDDER, NATIVE)
SOAK_ROOMS: Final[Mapping[str, Sequence[str]]] = {
    RAY: ("/ray/", "/grpc/"),
    EMBEDDER: ("/retrieval/embedding", "/retrieval/e5/", "/onnxruntime/"),
    **ROOMS,
}
_POLLER: Final = "_poll_wrapper"  # of gRPC's PollerCompletionQueue, in the thread's name
_FILE: Final = re.compile(r"\((.*?)(?::\d+)?\)$")


@dataclass(frozen=True, slots=True)
class Sampled:
    """CPU seconds of one process by room while it was sampled."""

    rooms: Mapping[str, float]

    @property
    def not_ours(self) -> float:
        """The share of its CPU that is Ray's or the embedder's."""
        return sum(self.rooms.get(room, 0.0) for room in NOT_OURS) / max(1e-9, sum(self.rooms.values()))


async def sample(pid: int, seconds: float) -> Sampled | None:
    """None where py-spy is not installed or may not look (it needs the right to trace the process)."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        return None
    with tempfile.TemporaryDirectory(prefix="keepword-spy-") as folder, suppress(psutil.Error):
        out = Path(folder) / "stacks"
        watched = await _output(spy, "dump", "--json", "--nonblocking", "--pid", str(pid))
        before = thread_cpu_s(pid)
        record = ("record", "--format", "raw", "--full-filenames", "--threads", "--nonblocking", "--rate", str(RATE_PER_S))
        done = await _output(spy, *record, "--duration", f"{max(1, round(seconds))}", "--output", str(out), "--pid", str(pid))
        after = thread_cpu_s(pid)
        if watched is None or done is None or not out.exists():
            return None
        threads = [thread for thread in json.loads(watched) if _POLLER not in (thread.get("thread_name") or "")]
        python = {int(thread["os_thread_id"]) for thread in threads if thread.get("os_thread_id")}
        return shared_out(out.read_text(encoding="utf-8").splitlines(), before, after, python)
    return None  # the process ended meanwhile


def shared_out(stacks: Iterable[str], before: Mapping[int, float], after: Mapping[int, float], python: set[int]) -> Sampled:
    """`stacks` as py-spy writes them: the thread, frames from the outermost, `;` between them, and how often. Threads' CPU in
    seconds; `python` are those that run Python."""
    seen: Counter[str] = Counter()
    for line in stacks:
        frames, _, count = line.rpartition(" ")
        if frames and count.isdigit() and _POLLER not in frames.partition(";")[0]:
            seen[room_of(_files(frames), SOAK_ROOMS)] += int(count)
    spent = {thread: seconds - before.get(thread, 0.0) for thread, seconds in after.items()}
    in_python = sum(seconds for thread, seconds in spent.items() if thread in python)
    total = max(1, seen.total())
    rooms = {room: in_python * count / total for room, count in seen.most_common()}
    rooms[NATIVE] = max(0.0, sum(spent.values()) - in_python)
    return Sampled(rooms)


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


def as_detail(sampled: Sampled | None, cpu_ms_a_turn: float) -> dict[str, Any]:
    """A turn's milliseconds by room."""
    if sampled is None:
        return {"known": False}
    total = max(1e-9, sum(sampled.rooms.values()))
    rooms = {room: round(cpu_ms_a_turn * seconds / total, 3) for room, seconds in sampled.rooms.items()}
    return {"known": True, "seconds_sampled": round(total, 2), "cpu_ms_a_turn": rooms}
