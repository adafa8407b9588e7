"""Replicas behind one router, each an exact engine: a turn goes to the less busy of two drawn by lot, as Ray Serve chooses, and
waits in the router, first come first served, while every replica has `max_ongoing_requests`."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.simulator.desk_turns import DeskReplica, Turn, TurnShape
from bench.simulator.profile import Profile
from bench.simulator.timing import VirtualTime

Done = Callable[[float], None]
"""Called at a turn's end with the seconds since its customer sent it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    at: float
    done: Done


@dataclass(eq=False)
class Replica:
    """`under_way`: its turns and who waits for them."""

    desk: DeskReplica
    under_way: dict[Turn, _Sent] = field(default_factory=dict)
    dead: bool = False


class Router:
    """`add`, `drain` and `kill` replicas while turns are sent."""

    def __init__(
        self, profile: Profile, time: VirtualTime, rng: random.Random, *, max_ongoing: int, shape: TurnShape | None = None
    ) -> None:
        self._profile, self._time, self._rng = profile, time, rng
        self._max_ongoing, self._shape = max_ongoing, shape or TurnShape()
        self.replicas: list[Replica] = []
        self.draining: list[Replica] = []
        self._waiting: deque[_Sent] = deque()

    @property
    def ongoing(self) -> int:
        """Turns in replicas that serve and in the router: what the autoscaler counts."""
        return sum(len(one.under_way) for one in self.replicas) + len(self._waiting)

    def send(self, done: Done) -> None:
        self._place(_Sent(self._time.time(), done))

    def add(self) -> None:
        self.replicas.append(Replica(DeskReplica(self._profile, self._time, self._rng, self._shape)))
        self._next()

    def drain(self) -> None:
        """Take the least busy one away: it finishes what it has."""
        replica = min(self.replicas, key=lambda one: len(one.under_way))
        self.replicas.remove(replica)
        if replica.under_way:
            self.draining.append(replica)

    def kill(self, replica: Replica) -> int:
        """It is gone at once; its turns begin again on others, before those that wait. How many there were."""
        self.replicas.remove(replica)
        replica.dead = True
        self._waiting.extendleft(reversed(replica.under_way.values()))
        self._next()
        return len(replica.under_way)

    def _place(self, sent: _Sent) -> None:
        two = self._rng.choices(self.replicas, k=2) if self.replicas else []
        free = [one for one in (two or self.replicas) if len(one.under_way) < self._max_ongoing]
        free = free or [one for one in self.replicas if len(one.under_way) < self._max_ongoing]
        if self._waiting or not free:
            self._waiting.append(sent)
            return
        self._give(min(free, key=lambda one: len(one.under_way)), sent)

    def _give(self, replica: Replica, sent: _Sent) -> None:
        replica.under_way[replica.desk.ask(lambda turn: self._ended(replica, turn))] = sent

    def _ended(self, replica: Replica, turn: Turn) -> None:
        if replica.dead:
            return
        sent = replica.under_way.pop(turn)
        if replica in self.draining and not replica.under_way:
            self.draining.remove(replica)
        self._next()
        sent.done(self._time.time() - sent.at)

    def _next(self) -> None:
        while self._waiting:
            free = min(self.replicas, key=lambda one: len(one.under_way), default=None)
            if free is None or len(free.under_way) >= self._max_ongoing:
                return
            self._give(free, self._waiting.popleft())
