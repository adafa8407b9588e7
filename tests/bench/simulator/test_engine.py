"""The simulated scheduler keeps vLLM's rules, whatever arrives and whoever leaves."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulator.engine import Sequence, SimulatedEngine
from bench.simulator.profile import Limits, Profile, StepCost

COST = StepCost(base_s=0.01, prefill_s=0.001, sequence_s=0.002)
SMALL = Limits(
    max_model_len=96,
    max_num_seqs=4,
    max_num_batched_tokens=32,
    block_size=8,
    kv_cache_memory_bytes=16 * 8,
    kv_bytes_per_token=1,
)


def profile(**changed: int | bool) -> Profile:
    return Profile("test", "made up", replace(SMALL, **changed), COST)  # type: ignore[arg-type]  # fields of two types


def run(engine: SimulatedEngine, steps: int = 10_000) -> list[Sequence]:
    """Step until idle; the sequences in the order they got tokens."""
    given_tokens: list[Sequence] = []
    while not engine.idle:
        assert steps > 0, "the engine does not come to an end"
        steps -= 1
        engine.begin()
        given_tokens += engine.end()
    return given_tokens


def hashes(name: int, tokens: int, block_size: int = 8) -> tuple[int, ...]:
    return tuple(hash((name, block)) for block in range(tokens // block_size))


SEQUENCES = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 36), st.integers(0, 2)), min_size=1, max_size=14)


@settings(max_examples=150, deadline=None)
@given(SEQUENCES, st.integers(4, 40), st.booleans())
def test_every_request_gets_exactly_its_tokens_and_no_step_holds_more_than_the_limits(
    asked: list[tuple[int, int, int]], budget: int, caching: bool
) -> None:
    engine = SimulatedEngine(profile(max_num_batched_tokens=budget, enable_prefix_caching=caching))
    sequences = [Sequence(prompt, output, hashes(name, prompt)) for prompt, output, name in asked]
    for sequence in sequences:
        engine.add(sequence)
    while not engine.idle:
        waited = bool(engine.waiting)
        assert engine.begin() > 0
        scheduled = [sequence.scheduled for sequence in engine.running]
        assert 0 < sum(scheduled) <= budget, "work conserving, within the step's tokens"
        assert len(engine.running) <= 4
        held = {block for sequence in engine.running for block in sequence.blocks}
        assert len(held) == engine.pool.count - engine.pool.free <= 16
        for sequence in engine.running:
            assert sequence.computed + sequence.scheduled <= len(sequence.blocks) * 8, "no token without a place for its keys"
        assert not waited or engine.running
        engine.end()
    assert [sequence.produced for sequence in sequences] == [output for _prompt, output, _name in asked]
    assert engine.pool.free == engine.pool.count
    assert engine.counts.generation_tokens == sum(output for _prompt, output, _name in asked)


@settings(max_examples=60, deadline=None)
@given(SEQUENCES, st.data())
def test_cancelled_requests_leave_nothing_behind_and_the_others_are_served(
    asked: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    engine = SimulatedEngine(profile())
    sequences = [Sequence(prompt, output, hashes(name, prompt)) for prompt, output, name in asked]
    for sequence in sequences:
        engine.add(sequence)
    leaving = set(data.draw(st.lists(st.integers(0, len(sequences) - 1), unique=True)))
    for index in leaving:
        engine.begin()
        engine.cancel(sequences[index])
        engine.end()
    run(engine)
    assert all(sequence.ended for sequence in sequences)
    assert engine.pool.free == engine.pool.count
    stayed = [sequence for index, sequence in enumerate(sequences) if index not in leaving]
    assert all(sequence.produced == sequence.output_tokens for sequence in stayed)


def test_cancelling_frees_the_place_and_the_blocks_at_once() -> None:
    engine = SimulatedEngine(profile(max_num_seqs=1))
    first, second = Sequence(20, 30), Sequence(20, 2)
    engine.add(first)
    engine.add(second)
    engine.begin()
    assert engine.running == [first]
    engine.cancel(first)
    assert engine.pool.free == engine.pool.count
    engine.end()
    engine.begin()
    assert engine.running == [second]


def test_a_prefix_somebody_computed_is_not_computed_again() -> None:
    engine = SimulatedEngine(profile())
    engine.add(Sequence(30, 1, hashes(1, 30)))
    cold_s = engine.begin()
    engine.end()
    again = Sequence(30, 1, hashes(1, 30))
    engine.add(again)
    warm_s = engine.begin()
    assert again.cached == 24
    assert engine.counts.prefix_cache_hits == 24
    assert warm_s < cold_s
    engine.end()
    other = Sequence(30, 1, hashes(2, 30))
    engine.add(other)
    engine.begin()
    assert other.cached == 0


def test_a_whole_prompt_in_the_cache_still_computes_its_last_block() -> None:
    engine = SimulatedEngine(profile())
    for _ in range(2):
        engine.add(Sequence(24, 1, hashes(1, 24)))
    run(engine)
    assert engine.counts.prefix_cache_hits == 16


def test_what_was_cached_longest_ago_is_forgotten_first() -> None:
    engine = SimulatedEngine(profile(max_num_seqs=1))
    for name in (1, 2, 3, 4):
        engine.add(Sequence(48, 1, hashes(name, 48)))  # each takes six of sixteen blocks
    run(engine)
    for name, cached in ((4, 40), (1, 0)):
        sequence = Sequence(48, 1, hashes(name, 48))
        engine.add(sequence)
        run(engine)
        assert sequence.cached == cached


def test_a_long_prompt_comes_in_chunks_while_others_decode() -> None:
    engine = SimulatedEngine(profile())
    short, long = Sequence(4, 20), Sequence(80, 2)
    engine.add(short)
    run_steps = 2
    for _ in range(run_steps):
        engine.begin()
        engine.end()
    engine.add(long)
    for _ in range(3):
        engine.begin()
        assert long.scheduled <= 31, "the decoding sequence's token comes first"
        assert short.scheduled == 1
        engine.end()
    assert long.produced == 1
    assert short.produced == run_steps + 3


def test_when_blocks_run_out_the_youngest_is_preempted_and_served_later() -> None:
    engine = SimulatedEngine(profile())
    old, young = Sequence(60, 36), Sequence(60, 36)
    engine.add(old)
    engine.add(young)
    order = run(engine)
    assert young.preempted > 0
    assert old.preempted == 0
    assert order[-1] is young
    assert young.produced == 36
