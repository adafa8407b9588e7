"""Drives one engine in time: one timer for the step under way, whatever the number of requests in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.simulator.engine import Sequence, SimulatedEngine
from bench.simulator.profile import Profile, Work
from bench.simulator.timing import Timer

MAX_LAG_S: Final = 0.25
"""How far the steps may lie behind real time and still be caught up with. A machine that is slower than that for longer no
longer simulates: `late_s` counts what was let go."""

GotToken = Callable[[Sequence], None]
Stepped = Callable[[float, float, Work], None]
Ended = Callable[[Work], None]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The engine now and since its start, under vLLM's names. `late_s`: time the simulation fell behind and gave up."""

    num_requests_running: int
    num_requests_waiting: int
    kv_cache_usage: float
    prefix_cache_queries: int
    prefix_cache_hits: int
    num_preemptions: int
    prompt_tokens: int
    generation_tokens: int
    steps: int
    late_s: float


class Runner:
    """Steps follow each other while there is work, each as long as the profile says. `on_token` is called for every sequence
    that got a token, at the step's end; `on_step` for every step, with its beginning, its end and what it holds; `on_end` when
    it is over."""

    def __init__(
        self,
        profile: Profile,
        timer: Timer,
        on_token: GotToken,
        on_step: Stepped | None = None,
        on_end: Ended | None = None,
    ) -> None:
        self.engine = SimulatedEngine(profile)
        self._timer, self._on_token, self._on_step, self._on_end = timer, on_token, on_step, on_end
        self._stepping = False
        self._step_ends = 0.0
        self._late_s = 0.0
        self._front_free_at = 0.0

    def arrival(self) -> float:
        """When the scheduler sees a request that is made now. The front takes one after the other, so of many that come at
        once the first is alone in its step."""
        profile = self.engine.profile
        self._front_free_at = max(self._timer.time(), self._front_free_at) + profile.accept_s
        return self._front_free_at + max(0.0, profile.request_s - profile.accept_s)

    def add(self, sequence: Sequence) -> None:
        self.engine.add(sequence)
        if not self._stepping:
            self._stepping = True
            self._step_ends = self._timer.time()
            # What else arrives at this moment shares the step, as requests that wait in an engine's queue do.
            self._timer.call_at(self._step_ends, self._next)

    def cancel(self, sequence: Sequence) -> None:
        self.engine.cancel(sequence)

    def stats(self) -> EngineStats:
        engine, counts = self.engine, self.engine.counts
        return EngineStats(
            num_requests_running=len(engine.running),
            num_requests_waiting=len(engine.waiting),
            kv_cache_usage=engine.pool.usage,
            prefix_cache_queries=counts.prefix_cache_queries,
            prefix_cache_hits=counts.prefix_cache_hits,
            num_preemptions=counts.num_preemptions,
            prompt_tokens=counts.prompt_tokens,
            generation_tokens=counts.generation_tokens,
            steps=counts.steps,
            late_s=self._late_s,
        )

    def _next(self) -> None:
        if self.engine.idle:
            self._stepping = False
            return
        duration_s = self.engine.begin()
        lag_s = self._timer.time() - self._step_ends
        if lag_s > MAX_LAG_S:
            self._late_s += lag_s
            self._step_ends += lag_s
        self._step_ends += duration_s
        if self._on_step is not None:
            self._on_step(self._step_ends - duration_s, self._step_ends, self.engine.work)
        self._timer.call_at(self._step_ends, self._end)

    def _end(self) -> None:
        work = self.engine.work
        for sequence in self.engine.end():
            self._on_token(sequence)
        if self._on_end is not None:
            self._on_end(work)
        self._next()
