"""Turns of the desk on a simulated engine, in virtual time and without text: what `bench tune` and `bench simulate` count in.

A turn is two calls, one after the other: the plan and the sentence of understanding. Each begins with a prefix every session
shares. The lengths are those of the shop's own prompts (300 planning messages, English and Chinese).
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.simulator.engine import Sequence
from bench.simulator.profile import Profile
from bench.simulator.runner import EngineStats, Runner
from bench.simulator.timing import Timer, VirtualTime


@dataclass(frozen=True, slots=True)
class Call:
    """Prompt tokens (the shared beginning among them; plus or minus `spread`), and output tokens."""

    prompt_tokens: int
    shared_tokens: int
    spread: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class TurnShape:
    """The calls of a turn, and the desk's own time in it (retrieval, policy, tools, store), half before the first call."""

    calls: tuple[Call, ...] = (Call(450, 246, 60, 5), Call(182, 150, 25, 12))
    own_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Admission:
    """Ray Serve before the engine: calls it holds at once, and calls that may wait for a place; more are refused."""

    max_ongoing_requests: int = 10_000
    max_queued_requests: int = 1_000_000


@dataclass(slots=True, eq=False)
class Turn:
    """Times in seconds; `done_at` is when the first verified sentence could leave, None while it cannot."""

    asked_at: float
    done_at: float | None = None
    refused: bool = False

    def took_s(self) -> float:
        return float("inf") if self.done_at is None or self.refused else self.done_at - self.asked_at


@dataclass(slots=True, eq=False)
class _Sequence(Sequence):
    then: Callable[[], None] = field(default=lambda: None)


class DeskReplica:
    """One engine with the desk before it. `turns`: those under way."""

    def __init__(
        self, profile: Profile, timer: Timer, rng: random.Random, shape: TurnShape, admission: Admission | None = None
    ) -> None:
        self._profile, self._timer, self._rng = profile, timer, rng
        self._shape, self._admission = shape, admission or Admission()
        self._runner = Runner(profile, timer, _ended)
        self._ongoing = 0
        self._queue: deque[_Sequence] = deque()
        self.turns = 0

    def ask(self, done: Callable[[Turn], None] | None = None) -> Turn:
        """A turn that begins now; `done` is called with it at its end."""
        turn = Turn(self._timer.time())
        self.turns += 1
        self._after(self._shape.own_s / 2, lambda: self._call(turn, 0, done))
        return turn

    def stats(self) -> EngineStats:
        return self._runner.stats()

    def _call(self, turn: Turn, number: int, done: Callable[[Turn], None] | None) -> None:
        if number == len(self._shape.calls):
            self._after(self._shape.own_s / 2, lambda: self._finish(turn, done))
            return
        if self._ongoing >= self._admission.max_ongoing_requests and len(self._queue) >= self._admission.max_queued_requests:
            turn.refused = True
            self._finish(turn, done)
            return
        sequence = self._sequence(number)
        sequence.then = lambda: self._left(turn, number, done)
        if self._ongoing >= self._admission.max_ongoing_requests:
            self._queue.append(sequence)
        else:
            self._enter(sequence)

    def _sequence(self, number: int) -> _Sequence:
        call, size = self._shape.calls[number], self._profile.limits.block_size
        prompt = call.prompt_tokens + self._rng.randint(-call.spread, call.spread)
        own = self._rng.getrandbits(62)
        blocks, shared = prompt // size, call.shared_tokens // size
        hashes = tuple(hash((number, at)) if at < shared else hash((own, at)) for at in range(blocks))
        return _Sequence(prompt, call.output_tokens, hashes)

    def _enter(self, sequence: _Sequence) -> None:
        self._ongoing += 1
        self._timer.call_at(self._runner.arrival(), lambda: self._runner.add(sequence))

    def _left(self, turn: Turn, number: int, done: Callable[[Turn], None] | None) -> None:
        self._ongoing -= 1
        if self._queue:
            self._enter(self._queue.popleft())
        self._call(turn, number + 1, done)

    def _finish(self, turn: Turn, done: Callable[[Turn], None] | None) -> None:
        turn.done_at = self._timer.time()
        self.turns -= 1
        if done is not None:
            done(turn)

    def _after(self, seconds: float, callback: Callable[[], None]) -> None:
        self._timer.call_at(self._timer.time() + seconds, callback)


def _ended(sequence: Sequence) -> None:
    assert isinstance(sequence, _Sequence)
    if sequence.ended:
        sequence.then()


def steady(
    profile: Profile,
    rate_per_s: float,
    *,
    seconds: float,
    seed: int,
    shape: TurnShape | None = None,
    admission: Admission | None = None,
) -> list[Turn]:
    """Turns that arrive at one replica at random (Poisson) for `seconds`; the first fifth, which finds it empty, is left out.
    Turns not done `seconds` after the last arrival count as never done."""
    time, rng = VirtualTime(), random.Random(seed)
    replica = DeskReplica(profile, time, rng, shape or TurnShape(), admission)
    turns: list[Turn] = []

    def arrive() -> None:
        if time.time() < seconds:
            turns.append(replica.ask())
            time.call_at(time.time() + rng.expovariate(rate_per_s), arrive)

    time.call_at(rng.expovariate(rate_per_s), arrive)
    time.run(2 * seconds)
    return [turn for turn in turns if turn.asked_at >= seconds / 5]


def saturated(profile: Profile, *, callers: int, turns: int, seed: int, shape: TurnShape | None = None) -> float:
    """Turns per second while `callers` ask one turn after the other, `turns` in all; the first and last fifth left out."""
    time = VirtualTime()
    replica = DeskReplica(profile, time, random.Random(seed), shape or TurnShape())
    ended: list[float] = []
    asked = callers

    def next_one(turn: Turn) -> None:
        nonlocal asked
        ended.append(time.time())
        if asked < turns:
            asked += 1
            replica.ask(next_one)

    for _ in range(callers):
        replica.ask(next_one)
    time.run()
    inside = ended[len(ended) // 5 : -len(ended) // 5]
    return (len(inside) - 1) / (inside[-1] - inside[0])


def attained(turns: list[Turn], slo_s: float) -> float:
    """Share of turns whose first sentence could leave within `slo_s`; 1 when there were none."""
    return sum(turn.took_s() <= slo_s for turn in turns) / len(turns) if turns else 1.0
