"""A server's processes as one thing: their CPU time by name, and pausing all of them while another is measured."""

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil


class Tree:
    """A process and all its descendants, looked up anew each time: they come and go."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def members(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def cpu_s(self) -> Counter[str]:
        """CPU seconds used so far, by process name."""
        used: Counter[str] = Counter()
        for process in self.members():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                times = process.cpu_times()
                used[_name(process)] += times.user + times.system  # type: ignore[assignment]
        return used

    def signal(self, number: int) -> None:
        for process in self.members():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """None of it runs meanwhile: it is not measured, and takes nothing from what is."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


def spent(before: Mapping[str, float], after: Mapping[str, float], *, least_s: float = 0.01) -> dict[str, float]:
    """CPU seconds by name between two looks; what used less than `least_s` is left out."""
    used = {name: round(seconds - before.get(name, 0.0), 3) for name, seconds in after.items()}
    return {name: seconds for name, seconds in sorted(used.items(), key=lambda item: -item[1]) if seconds >= least_s}


def _name(process: psutil.Process) -> str:
    """What a process calls itself, without numbers: `ray::ServeReplica:engine:engine`, `VLLM::EngineCore`."""
    line = process.cmdline()
    first = line[0] if line else process.name()
    if "::" in first:
        return first.split(" ")[0]
    words = [os.path.basename(word) for word in line[:4] if not word.startswith("-")]
    return re.sub(r"[0-9.]+$", "", " ".join(words[:3])) or process.name()
