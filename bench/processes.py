"""Processes a benchmark starts and looks at: a server, ready when it answers and ended by pid; a tree's CPU; pausing it."""

import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import psutil

READY_TIMEOUT_S: Final = 240.0
STOP_TIMEOUT_S: Final = 30.0
STANDS_S: Final = 2.0
LEFT_S: Final = 5.0  # for what a server leaves behind
TAIL_LINES: Final = 30
GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied)


class ServerFailed(RuntimeError):
    """A server ended, or was not ready in time; the message carries the end of its log."""


@contextmanager
def server(
    command: Sequence[str | Path],
    *,
    ready: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = READY_TIMEOUT_S,
) -> Iterator[int]:
    """Run `command`, in a process group of its own, until the block ends; its pid, once the URL `ready` answers without an
    error. Whatever it started is gone with it. Raises ServerFailed."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            list(command),
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_ready(process, ready, log, timeout_s)
        yield process.pid
    finally:
        _stop(process)


def listening() -> socket.socket:
    """A free port of 127.0.0.1 that listens already: a client quicker than the server to come waits, and is not refused."""
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    found.listen()
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Tree:
    """A process and all its descendants, looked up anew each time: they come and go."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def members(self) -> list[psutil.Process]:
        """Those that live, the top first."""
        with suppress(*GONE):
            top = psutil.Process(self._pid)
            return [top, *top.children(recursive=True)]
        return []

    def cpu_s(self) -> Counter[str]:
        """CPU seconds, user and system, used so far, by process name."""
        used: Counter[str] = Counter()
        for process in self.members():
            with suppress(*GONE):
                times = process.cpu_times()
                used[called(process)] += times.user + times.system  # type: ignore[assignment]
        return used

    def signal(self, number: int) -> None:
        for process in self.members():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def _moves(self) -> bool:
        states = set()
        for process in self.members():
            with suppress(*GONE):
                states.add(process.status())
        return not states <= {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """None of it runs meanwhile: it is not measured, and takes nothing from what is."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + STANDS_S
        while self._moves() and time.monotonic() < deadline:  # a signal takes effect when its process is next looked at
            time.sleep(0.005)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds so far of these processes and all that descends from them."""
    return sum(Tree(pid).cpu_s().total() for pid in pids)


def queued_s() -> float:
    """Seconds the calling thread was ready to run and had no core, since it began. 0 where Linux does not count them."""
    counted = Path("/proc/thread-self/schedstat")
    return int(counted.read_text(encoding="ascii").split()[1]) / 1e9 if counted.is_file() else 0.0


def spent(before: Mapping[str, float], after: Mapping[str, float], *, least_s: float = 0.01) -> dict[str, float]:
    """CPU seconds by name between two looks; what used less than `least_s` is left out."""
    used = {name: round(seconds - before.get(name, 0.0), 3) for name, seconds in after.items()}
    return {name: seconds for name, seconds in sorted(used.items(), key=lambda item: -item[1]) if seconds >= least_s}


def called(process: psutil.Process) -> str:
    """What a process calls itself, without numbers: `ray::ServeReplica:engine:engine`, `VLLM::EngineCore`. One of Ray's adds
    the method it runs just then: that is left out. Raises psutil's errors when it is gone."""
    line = process.cmdline()
    first = line[0] if line else process.name()
    if "::" in first:
        return first.split(" ")[0].split(".")[0]
    words = [os.path.basename(word) for word in line[:4] if not word.startswith("-")]
    return re.sub(r"[0-9.]+$", "", " ".join(words[:3])) or process.name()


def _wait_ready(process: subprocess.Popen[bytes], ready: str, log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(f"{process.args!r} ended with {process.returncode}:\n{_tail(log)}")
        try:
            if not httpx.get(ready, timeout=2.0).is_error:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise ServerFailed(f"{process.args!r} was not ready after {timeout_s:.0f} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask politely, then end it and what it left behind."""
    members = Tree(process.pid).members()[1:]
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    _, left = psutil.wait_procs(members, timeout=LEFT_S)
    for each in left:
        with suppress(*GONE):
            each.kill()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
