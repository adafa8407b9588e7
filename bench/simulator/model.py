"""The `Model` port over the simulated engine, in the time of the running event loop (`timing.VirtualLoop` makes it virtual)."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from agents.domain.errors import BadInput, DeadlineExceeded, EmptyOutput
from agents.ports import ModelChunk, ModelRequest, ModelResult
from bench.simulator.content import Said, answer, weighed
from bench.simulator.engine import Sequence
from bench.simulator.profile import Profile, Work, load_profile
from bench.simulator.runner import EngineStats, Runner, Stepped
from bench.simulator.tokens import block_hashes, prompt_ids
from serving.engine.outputs import check_output
from serving.observe.engine import EngineMetrics, EngineStep

SEED: Final = 7
NOTHING_YET: Final = EngineStats(0, 0, 0.0, 0, 0, 0, 0, 0, 0, 0.0)


@dataclass(slots=True, eq=False)
class _Request(Sequence):
    """A sequence with the one who waits for it. `every_token`: woken at each, else only at the end."""

    said: Said = field(default_factory=lambda: Said((), complete=True))
    every_token: bool = True
    queued: bool = False
    late: bool = False
    began_at: float = 0.0
    first_token_at: float = 0.0
    waiter: "asyncio.Future[None] | None" = None

    def join(self, runner: Runner) -> None:
        self.queued = True
        runner.add(self)

    def leave(self, runner: Runner) -> None:
        if self.queued:
            runner.cancel(self)

    def expire(self) -> None:
        self.late = True
        self.wake()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class SimulatedModel:
    """Answers as a real engine would answer, in the time the profile says. Belongs to one event loop.

    Raises BadInput for a prompt or a structure the engine could not take, DeadlineExceeded, and TruncatedOutput when a
    structure does not fit into `max_tokens`. Equal requests get equal answers under one `seed`. `on_step` as in `Runner`.
    """

    def __init__(self, profile: Profile, *, seed: int = SEED, on_step: Stepped | None = None) -> None:
        self.profile = profile
        self._seed, self._on_step = seed, on_step
        self._runner: Runner | None = None
        self._tell: Callable[[EngineStep], None] | None = None
        self._told = NOTHING_YET
        self._firsts: list[float] = []
        self._finished: Counter[str] = Counter()

    async def generate(self, request: ModelRequest) -> ModelResult:
        async with aclosing(self._run(request, every_token=False)) as chunks:
            async for chunk in chunks:
                if chunk.result is not None:
                    return chunk.result
        raise EmptyOutput("the simulated engine ended without a result")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelChunk, None]:
        """Pieces as they are decoded, what came while the reader was away joined; a structured output as one piece."""
        async with aclosing(self._run(request, every_token=request.structure is None)) as chunks:
            async for chunk in chunks:
                yield chunk

    def report_to(self, metrics: EngineMetrics) -> None:
        """Tell every step from now on, as a real engine does."""
        metrics.watch_idle(lambda: self._runner is None or self.running() == 0)
        self._tell = metrics.step

    def stats(self) -> EngineStats:
        """The engine's numbers under vLLM's names."""
        return self._started().stats()

    def running(self) -> int:
        """Requests accepted and not finished."""
        engine = self._started().engine
        return len(engine.running) + len(engine.waiting)

    async def _run(self, request: ModelRequest, *, every_token: bool) -> AsyncGenerator[ModelChunk, None]:
        loop, runner = asyncio.get_running_loop(), self._started()
        began = loop.time()
        one = self._accepted(request, every_token)
        one.began_at = began
        timers = [loop.call_at(began + request.deadline_s, one.expire)]
        if self.profile.request_s:
            timers.append(loop.call_at(runner.arrival(), one.join, runner))
        else:
            one.join(runner)
        shown = 0
        try:
            while not one.ended:
                one.waiter = loop.create_future()
                await one.waiter
                if one.late and not one.ended:
                    raise DeadlineExceeded(f"no complete output within {request.deadline_s:g} s")
                if every_token and not one.ended and shown < one.produced:
                    came, shown = one.said.tokens[shown : one.produced], one.produced
                    yield ModelChunk("".join(came))
        finally:
            for timer in timers:
                timer.cancel()
            one.leave(runner)
        result = _result(request, one, began, loop.time())
        yield ModelChunk("".join(one.said.tokens[shown:]), result)

    def _accepted(self, request: ModelRequest, every_token: bool) -> _Request:
        limits = self.profile.limits
        ids = prompt_ids(request.messages)
        room = limits.max_model_len - len(ids)
        if room < 1:
            raise BadInput(
                f"the prompt has {len(ids)} tokens and the engine takes {limits.max_model_len} with the answer",
                field="messages",
            )
        said = answer(request, self._seed)
        if len(said.tokens) > room:
            said = Said(said.tokens[:room], complete=False)
        hashes = block_hashes(ids, limits.block_size) if limits.enable_prefix_caching else ()
        return _Request(len(ids), len(said.tokens), hashes, said=said, every_token=every_token)

    def _started(self) -> Runner:
        if self._runner is None:
            self._runner = Runner(self.profile, asyncio.get_running_loop(), self._got_token, self._on_step, self._step_over)
        return self._runner

    def _got_token(self, sequence: Sequence) -> None:
        assert isinstance(sequence, _Request)
        if sequence.produced == 1:
            sequence.first_token_at = asyncio.get_running_loop().time()
            self._firsts.append(sequence.first_token_at - sequence.began_at)
        if sequence.ended:
            self._finished["stop" if sequence.said.complete else "length"] += 1
        if sequence.every_token or sequence.ended:
            sequence.wake()

    def _step_over(self, work: Work) -> None:
        if self._tell is None:
            self._firsts.clear()
            self._finished.clear()
            return
        before, now = self._told, self.stats()
        self._told = now
        step = EngineStep(
            running=now.num_requests_running,
            waiting=now.num_requests_waiting,
            kv_cache_usage=now.kv_cache_usage,
            prefix_queries=now.prefix_cache_queries - before.prefix_cache_queries,
            prefix_hits=now.prefix_cache_hits - before.prefix_cache_hits,
            preemptions=now.num_preemptions - before.num_preemptions,
            prefill_tokens=work.prefill_tokens,
            decode_tokens=work.sequences,
            first_token_s=tuple(self._firsts),
            finished=dict(self._finished),
        )
        self._firsts.clear()
        self._finished.clear()
        self._tell(step)


def _result(request: ModelRequest, one: _Request, began: float, now: float) -> ModelResult:
    finish_reason = "stop" if one.said.complete else "length"
    check_output(one.said.text, finish_reason, request.structure)
    return ModelResult(
        text=one.said.text,
        finish_reason="stop" if request.structure is not None else finish_reason,
        prompt_tokens=one.prompt_tokens,
        completion_tokens=one.produced,
        cached_tokens=one.cached,
        first_token_s=one.first_token_at - began,
        total_s=now - began,
        token_logprobs=weighed(one.said.tokens, request.logprobs) if request.logprobs else (),
    )


def open_simulated(profile: str, seed: int = SEED) -> SimulatedModel:
    """What an engine replica builds. Raises NotFound for a profile that is not there."""
    return SimulatedModel(load_profile(profile), seed=seed)
