"""The cost of a turn, measured in small: it runs over HTTP, nothing fails, and what it counts is there."""

from bench.cost.run import run


def test_turns_are_served_counted_and_profiled() -> None:
    result = run(quick=True)
    assert result.ok, result.as_dict()
    detail = result.detail
    assert result.bars["cpu_ms_a_turn"].value > 0
    assert detail["events_streamed_a_turn"] > 3
    assert 0 < detail["transactions_a_turn"] < detail["statements_a_turn"] < 40
    assert detail["embeddings_a_turn"] > 0
    assert sum(detail["profile_ms_a_turn"].values()) > 0
