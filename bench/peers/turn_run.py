"""Whole customer-service turns side by side: ours, and the same three agents in LangGraph and in Parlant, over the same
simulated engine.

Ours does more in its turn (policy, ledger, verified sentences, a signed log); what is compared is what a customer and an
operator see: turns a second and a core (all processes of the desk and its engine), requests to the model, time to the first
sentence of the answer.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx

from bench.peers.environments import environment
from bench.peers.proxies import SERVED_AS
from bench.peers.turns import Visits, visit
from bench.processes import cpu_s, free_port, server
from bench.result import quantile
from bench.simulator.server import REQUESTS
from bench.stack import SIMULATED, engine_server, running_stack

APPS = Path(__file__).parent / "apps"
OURS = "keepword"
CUSTOMERS = 32  # at once: what a turn costs an idle machine is not the question
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Desk:
    """A desk that answers at `url`. `pids`: the tops of its processes and its engine's. `engine`: where the engine counts its
    requests, empty where the desk tells them itself."""

    name: str
    url: str
    pids: tuple[int, ...]
    engine: str = ""


@dataclass
class TurnFigures:
    """One value a round; times in seconds."""

    turns_per_s: list[float] = field(default_factory=list)
    cpu_s_a_turn: list[float] = field(default_factory=list)
    first_sentence_p50_s: list[float] = field(default_factory=list)
    turn_p50_s: list[float] = field(default_factory=list)
    llm_calls_a_turn: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def row(self) -> dict[str, float]:
        """Medians over the rounds."""
        cpu = median(self.cpu_s_a_turn)
        return {
            "turns_per_s": round(median(self.turns_per_s), 2),
            "turns_per_s_a_core": round(1 / cpu, 2) if cpu else 0.0,
            "cpu_ms_a_turn": round(1e3 * cpu, 2),
            "first_sentence_p50_s": round(median(self.first_sentence_p50_s), 4),
            "turn_p50_s": round(median(self.turn_p50_s), 4),
            "llm_calls_a_turn": round(median(self.llm_calls_a_turn), 2),
            "errors": len(self.errors),
        }


def measure(
    *, rounds: int, seconds: float, profile: str, peers: Path, names: tuple[str, ...], progress: Progress
) -> dict[str, TurnFigures]:
    """Every desk in turn, round after round, `CUSTOMERS` at once. `names` are the peers to run beside ours."""
    with (
        tempfile.TemporaryDirectory(prefix="keepword-desks-") as folder,
        _started(Path(folder), profile, peers, names) as desks,
    ):
        figures = {desk.name: TurnFigures() for desk in desks}
        for desk in desks:  # what a first turn sets up is nobody's steady cost
            visit(Visits(desk.name, desk.url, 1, 1.0))
        for number in range(rounds):
            for at, desk in enumerate(desks):
                _round(desk, seconds, figures[desk.name])
                progress(number * len(desks) + at + 1, rounds * len(desks))
        return figures


def told(figures: Mapping[str, TurnFigures]) -> dict[str, dict[str, float]]:
    return {name: each.row() for name, each in figures.items()}


def _round(desk: Desk, seconds: float, figures: TurnFigures) -> None:
    before, asked = cpu_s(desk.pids), _asked(desk)
    served = visit(Visits(desk.name, desk.url, CUSTOMERS, seconds))
    turns = max(1, served.turns)
    figures.turns_per_s.append(served.turns / served.elapsed_s)
    figures.cpu_s_a_turn.append((cpu_s(desk.pids) - before) / turns)
    figures.first_sentence_p50_s.append(quantile(served.first_sentence_s, 0.5))
    figures.turn_p50_s.append(quantile(served.turn_s, 0.5))
    calls = _asked(desk) - asked if desk.engine else served.llm_calls
    figures.llm_calls_a_turn.append(calls / turns)
    figures.errors += served.errors


def _asked(desk: Desk) -> int:
    """Requests the desk's engine has taken so far."""
    if not desk.engine:
        return 0
    lines = httpx.get(f"{desk.engine}/metrics").text.splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(REQUESTS))


@contextmanager
def _started(scratch: Path, profile: str, peers: Path, names: tuple[str, ...]) -> Iterator[list[Desk]]:
    with ExitStack() as opened:
        ours = opened.enter_context(running_stack(scratch / "ours", engine=f"{SIMULATED}{profile}", settings=SERVED_AS))
        desks = [Desk(OURS, ours.url, (ours.pid,))]
        for name in names:
            engine = opened.enter_context(engine_server(profile, scratch))
            port, python = free_port(), str(environment(name, peers) / "bin" / "python")
            arguments = {"langgraph": (str(scratch / "langgraph.db"),), "parlant": ()}[name]
            command = (python, str(APPS / f"{name}_desk.py"), str(port), engine.url, *arguments)
            url, ready = f"http://127.0.0.1:{port}", {"langgraph": "health", "parlant": "agents"}[name]
            env = {"PARLANT_HOME": str(scratch / "parlant"), "PYTHONPATH": ""}
            pid = opened.enter_context(server(command, ready=f"{url}/{ready}", log=scratch / f"{name}.log", env=env))
            desks.append(Desk(name, url, (pid, engine.pid), engine.url))
        yield desks
