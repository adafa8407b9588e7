"""The one simulated engine of a comparison: as a server that others stand before, and inside our own stack."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers.processes import server
from bench.stack import free_port, running_stack


@dataclass(frozen=True, slots=True)
class Answering:
    """Something that answers at `url`; `pid` is the top of its process tree."""

    url: str
    pid: int


@contextmanager
def engine_server(profile: str, scratch: Path) -> Iterator[Answering]:
    """The simulated engine behind an OpenAI-compatible server of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "bench.simulator.server", "--profile", profile, "--port", str(port))
    with server(command, ready=f"{url}/health", log=scratch / f"engine-{port}.log") as pid:
        yield Answering(url, pid)


@contextmanager
def our_stack(profile: str, scratch: Path) -> Iterator[Answering]:
    """`keepword serve`, whole, over the same simulated engine."""
    with running_stack(scratch, engine=f"simulated:{profile}", settings={"KEEPWORD_MODEL": "simulated"}) as stack:
        yield Answering(stack.url, stack.pid)
