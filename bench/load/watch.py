"""CPU and memory of the processes behind an address, by what each is: read from the operating system, not asked of them."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil

ROOTS = (("-m", "serving.cli"), ("-m", "bench.simulator.stack"), ("keepword", "serve"))
# what a process is, by a word in its name or command; the first that fits
ROLES = (
    ("desk", ("ServeReplica:keepword:desk", "ServeReplica:keepword:Desk")),
    ("engine", ("ServeReplica", "VLLM::")),
    ("proxy", ("ProxyActor", "HAProxy", "haproxy")),
    ("controller", ("ServeController",)),
    ("database", ("postgres",)),
    ("ray", ("raylet", "gcs_server", "ray::", "/ray/", "ray-")),
)
OWN_CODE = ("desk", "engine", "proxy")  # whose memory must stay flat: what serves turns, without Ray's own daemons
GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)


@dataclass(frozen=True, slots=True)
class Use:
    """CPU seconds so far and resident bytes now, by role."""

    at_s: float
    cpu_s: Mapping[str, float]
    rss_bytes: Mapping[str, int]

    def rss(self, roles: Sequence[str] = ()) -> int:
        return sum(size for role, size in self.rss_bytes.items() if not roles or role in roles)


@dataclass
class Watch:
    """The process tree that listens at an address, and `further` trees (a database). CPU of processes that ended stays
    counted as last seen."""

    roots: Sequence[int]
    clock: Callable[[], float]
    _cpu_s: dict[tuple[int, float], tuple[str, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str, clock: Callable[[], float], further: Sequence[int] = ()) -> "Watch":
        """Raises LookupError when nothing on this machine listens there."""
        return cls((_top_listening(url).pid, *further), clock)

    def use(self) -> Use:
        rss: dict[str, int] = {}
        for process in self._processes():
            try:
                with process.oneshot():
                    role, times = _role(process), process.cpu_times()
                    self._cpu_s[process.pid, process.create_time()] = (role, times.user + times.system)
                    rss[role] = rss.get(role, 0) + process.memory_info().rss
            except GONE:
                continue
        cpu: dict[str, float] = {}
        for role, seconds in self._cpu_s.values():
            cpu[role] = cpu.get(role, 0.0) + seconds
        return Use(self.clock(), cpu, rss)

    def pids(self, role: str) -> list[int]:
        """The processes that are this now."""
        found: list[int] = []
        for process in self._processes():
            with suppress(*GONE):
                if _role(process) == role:
                    found.append(process.pid)
        return found

    def _processes(self) -> list[psutil.Process]:
        found: dict[int, psutil.Process] = {}
        for pid in self.roots:
            try:
                root = psutil.Process(pid)
                found |= {process.pid: process for process in (root, *root.children(recursive=True))}
            except GONE:
                continue
        return list(found.values())


def spent(before: Use, after: Use) -> dict[str, float]:
    """CPU seconds between two looks, by role."""
    return {role: round(seconds - before.cpu_s.get(role, 0.0), 3) for role, seconds in sorted(after.cpu_s.items())}


def _top_listening(url: str) -> psutil.Process:
    port = urlsplit(url).port or 80
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port and connection.pid:
            with suppress(*GONE):  # HAProxy, when it reloads, listens in its next process before the last one goes
                return _top(psutil.Process(connection.pid))
    raise LookupError(f"no process of this user listens on port {port}")


def _top(process: psutil.Process) -> psutil.Process:
    """The ancestor that is `keepword serve`, or the process itself."""
    for ancestor in process.parents():
        if ancestor.pid != os.getpid() and _serves(_command(ancestor)):
            return ancestor
    return process


def _serves(command: Sequence[str]) -> bool:
    words = [os.path.basename(word) for word in command]
    return any(all(mark in words for mark in root) for root in ROOTS)


def _role(process: psutil.Process) -> str:
    command = _command(process)
    if _serves(command):
        return "serve"
    text = " ".join((process.name(), *command[:2]))
    return next((role for role, marks in ROLES if any(mark in text for mark in marks)), "other")


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except GONE:
        return []
