"""How much of the machine somebody else used: a timing taken meanwhile says little about the engine."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psutil

STAT: Final = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class CpuClock:
    """CPU seconds so far: of all processes, and of this one with its children. Linux."""

    everybody_s: float
    ours_s: float

    @classmethod
    def now(cls) -> Self:
        fields = [int(field) for field in STAT.read_text(encoding="ascii").splitlines()[0].split()[1:]]
        user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return cls(busy, sum(_cpu_s(process) for process in _tree()))

    def others_share(self, later: "CpuClock", seconds: float) -> float:
        """Share of the machine's CPUs that others used between this reading and a later one, 0 to 1."""
        others_s = (later.everybody_s - self.everybody_s) - (later.ours_s - self.ours_s)
        return max(0.0, others_s / (seconds * (os.cpu_count() or 1)))


def _tree() -> list[psutil.Process]:
    here = psutil.Process()
    return [here, *here.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
