"""Servers a comparison starts: ready when they answer, measured with all their children, ended by pid."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0


class ServerFailed(RuntimeError):
    """A server ended, or was not ready in time; the message carries the end of its log."""


@contextmanager
def server(
    command: Sequence[str], *, ready: str, log: Path, env: Mapping[str, str] | None = None, timeout_s: float = READY_TIMEOUT_S
) -> Iterator[int]:
    """Run `command` until the block ends; yields its pid once `ready` (a URL) answers with any status below 500."""
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
        _wait(process, ready, log, timeout_s)
        yield process.pid
    finally:
        _stop(process)


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of a process and all its living descendants so far."""
    total = 0.0
    for each in tree(pid):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def tree(pid: int) -> list[psutil.Process]:
    """The process and its living descendants; none when it is gone."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _wait(process: subprocess.Popen[bytes], ready: str, log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(f"{process.args!r} ended with {process.returncode}:\n{_tail(log)}")
        try:
            if httpx.get(ready, timeout=2.0).status_code < 500:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise ServerFailed(f"{process.args!r} was not ready after {timeout_s:.0f} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    for signum in (signal.SIGTERM, signal.SIGKILL):  # what it left behind in its own group
        try:
            os.killpg(process.pid, signum)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    process.wait()


def _tail(log: Path, lines: int = 25) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
