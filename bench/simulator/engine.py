"""The scheduler, as a discrete model of vLLM's: what each step holds, what it costs, and which sequences get a token.

After vLLM 0.32's `v1/core/sched/scheduler.py`: running sequences first, in order, one token each or the next chunk of their
prompt, within `max_num_batched_tokens`; then waiting ones, first come first served, as long as there are places and blocks
for their whole prompt. When blocks run out the youngest running sequence is preempted and computed again later. It knows no
clock: `begin` says how long the step takes, `end` what came of it. What is not modelled: speculative decoding, LoRA,
priorities, and reuse of generated tokens' blocks.
"""

from collections import deque
from dataclasses import dataclass, field

from bench.simulator.blocks import BlockPool
from bench.simulator.profile import Profile, Work


@dataclass(slots=True, eq=False)
class Sequence:
    """One request. `hashes` are the chained hashes of its prompt's full blocks; it ends after `output_tokens` of them.
    `computed` counts tokens whose keys and values are in `blocks`, `cached` those it found there, `scheduled` this step's."""

    prompt_tokens: int
    output_tokens: int
    hashes: tuple[int, ...] = ()
    computed: int = 0
    produced: int = 0
    cached: int = 0
    preempted: int = 0
    scheduled: int = 0
    ended: bool = False
    blocks: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.produced


@dataclass(slots=True)
class Counts:
    """Totals since the start, under the names vLLM's metrics have."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    prefix_cache_queries: int = 0
    prefix_cache_hits: int = 0
    num_preemptions: int = 0
    steps: int = 0


class SimulatedEngine:
    """`add`, `cancel` between and during steps; `begin` and `end` in turn while there is work. `work`: what the step holds."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.limits = profile.limits
        self.pool = BlockPool(profile.limits.kv_blocks)
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.counts = Counts()
        self.work = Work(0, 0, 0, 0.0)
        self._batch: list[Sequence] = []

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting

    def add(self, sequence: Sequence) -> None:
        """Queue a request. Its prompt and output together must fit into `max_model_len` (the caller has seen to it)."""
        self.waiting.append(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """Give up its place and blocks now. The step under way takes no less time for it."""
        if sequence.ended:
            return
        sequence.ended = True
        if sequence in self.running:
            self.running.remove(sequence)
            self._free(sequence)
        else:
            self.waiting.remove(sequence)

    def begin(self) -> float:
        """Fill the next step; its duration in seconds."""
        self._batch = []
        budget, preempted = self._continue_running()
        if not preempted:
            self._admit_waiting(budget)
        self.counts.steps += 1
        self.work = self._work()
        return self.profile.cost.step_s(self.work)

    def end(self) -> list[Sequence]:
        """Account for the step that `begin` filled: the sequences that got a token, those that now `ended` among them."""
        given: list[Sequence] = []
        for sequence in self._batch:
            if sequence.ended or not sequence.scheduled:
                continue  # cancelled or preempted while the step ran
            sequence.computed += sequence.scheduled
            sequence.scheduled = 0
            if sequence.computed < sequence.tokens:
                continue
            sequence.produced += 1
            given.append(sequence)
            if sequence.produced >= sequence.output_tokens:
                sequence.ended = True
                self._free(sequence)
        if given:
            self.counts.generation_tokens += len(given)
            if any(sequence.ended for sequence in given):
                self.running = [sequence for sequence in self.running if not sequence.ended]
        return given

    def _continue_running(self) -> tuple[int, bool]:
        budget, preempted, index = self.limits.max_num_batched_tokens, False, 0
        while index < len(self.running) and budget > 0:
            sequence = self.running[index]
            new = min(sequence.tokens - sequence.computed, budget)
            while not self._extend(sequence, new):
                victim = self.running.pop()
                self._preempt(victim)
                preempted = True
                if victim is sequence:
                    return budget, preempted
            self._schedule(sequence, new)
            budget -= new
            index += 1
        return budget, preempted

    def _admit_waiting(self, budget: int) -> None:
        limits = self.limits
        while self.waiting and budget > 0 and len(self.running) < limits.max_num_seqs:
            sequence = self.waiting[0]
            # The last token is always computed: its logits are what the first output is drawn from.
            most = (sequence.tokens - 1) // limits.block_size
            found = self.pool.cached(sequence.hashes, most) if limits.enable_prefix_caching else []
            cached = len(found) * limits.block_size
            new = sequence.tokens - cached
            if new > budget and not limits.enable_chunked_prefill:
                break
            if self._blocks_for(sequence.tokens) - len(found) > self.pool.free - self.pool.unheld(found):
                break
            self.waiting.popleft()
            self.pool.hold(found)
            sequence.blocks, sequence.computed = found, cached
            if not sequence.preempted:
                sequence.cached = cached
                self.counts.prompt_tokens += sequence.prompt_tokens
                self.counts.prefix_cache_queries += sequence.prompt_tokens
                self.counts.prefix_cache_hits += cached
            new = min(new, budget)
            self._extend(sequence, new)
            self.running.append(sequence)
            self._schedule(sequence, new)
            budget -= new

    def _schedule(self, sequence: Sequence, new: int) -> None:
        sequence.scheduled = new
        self._batch.append(sequence)

    def _extend(self, sequence: Sequence, new: int) -> bool:
        """Blocks for `new` more tokens; False when the pool has too few. Full blocks of the prompt become findable."""
        reached = sequence.computed + new
        missing = self._blocks_for(reached) - len(sequence.blocks)
        if missing > self.pool.free:
            return False
        if missing > 0:
            sequence.blocks.extend(self.pool.take(missing))
        if sequence.computed < sequence.prompt_tokens and self.limits.enable_prefix_caching:
            size = self.limits.block_size
            for at in range(sequence.computed // size, min(reached // size, len(sequence.hashes))):
                self.pool.publish(sequence.blocks[at], sequence.hashes[at])
        return True

    def _preempt(self, victim: Sequence) -> None:
        self._free(victim)
        victim.computed = victim.scheduled = 0
        victim.preempted += 1
        self.counts.num_preemptions += 1
        self.waiting.appendleft(victim)

    def _free(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []

    def _blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.limits.block_size)

    def _work(self) -> Work:
        prefill = sequences = context = 0
        pairs = 0.0
        for sequence in self._batch:
            new, computed = sequence.scheduled, sequence.computed
            if new == 1 and sequence.produced:
                sequences += 1
                context += computed
            elif new:
                prefill += new
                pairs += new * (computed + new / 2)
        return Work(prefill, sequences, context, pairs)
