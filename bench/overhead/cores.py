"""Which cores which process may use. Where the engine computes on the same few cores as everything in front of it, a server's
CPU time delays the engine as well, and twice: threads that compute together wait for the one whose core was taken. On
machines with a GPU they are apart; here they are put apart by hand, for both servers alike.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.processes import GONE, Tree, called

ENGINE_PROCESSES = ("VLLM::EngineCore", "VLLM::Worker")


@dataclass(frozen=True, slots=True)
class Cores:
    """CPU ids for the engines' processes, and for all others: the servers' and the client's."""

    engine: frozenset[int]
    others: frozenset[int]

    @classmethod
    def apart(cls) -> "Cores":
        """The last core for what is not the engine. Raises ValueError where there is only one."""
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            raise ValueError("this process may use one core only; --cores shared does without a second")
        return cls(frozenset(allowed[:-1]), frozenset(allowed[-1:]))

    @classmethod
    def shared(cls) -> "Cores":
        allowed = frozenset(os.sched_getaffinity(0))
        return cls(allowed, allowed)

    def told(self) -> dict[str, list[int]]:
        return {"engine": sorted(self.engine), "others": sorted(self.others)}

    def place(self, tree: Tree) -> None:
        """Every thread of `tree` that is not an engine's to the others' cores. What it starts later inherits them."""
        for process in tree.members():
            with suppress(*GONE):
                if not called(process).startswith(ENGINE_PROCESSES):
                    _pin(process.pid, self.others)


@contextmanager
def starting_on(cores: Collection[int]) -> Iterator[None]:
    """What this thread starts meanwhile sees only `cores`, and so do its children: an engine makes as many threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _pin(pid: int, cores: Collection[int]) -> None:
    with suppress(FileNotFoundError):  # the process ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)
