"""The benchmark of watching, at its quick size."""

from pathlib import Path

from bench.observe.calls import VISIT, Saying, make_again, recorded
from bench.observe.cost import run, watched
from serving.observe.metrics import Metrics
from serving.observe.traces import NO_TRACES


async def test_the_calls_made_again_are_counted_as_the_turns_they_were(tmp_path: Path) -> None:
    calls, turns = await recorded(tmp_path)
    saying, metrics = Saying(), Metrics()
    for _ in range(2):
        await make_again(calls, saying, watched(saying, metrics, NO_TRACES))
    found = metrics.book.registry.get_sample_value
    assert turns == len(VISIT)
    assert found("keepword_stage_seconds_count", {"stage": "turn"}) == 2 * turns
    assert found("keepword_actions_total", {"tool": "refund_partial", "status": "done"}) == 2


async def test_it_measures_every_way(tmp_path: Path) -> None:
    result = await run(quick=True, progress=lambda done, total: None)
    assert set(result.bars) == {"metrics_ms_a_turn", "traces_ms_a_turn", "engine_step_ms", "scrape_ms", "log_line_ms"}
    assert result.detail["calls_a_turn"] > 8
    assert all(len(each) == 3 for each in result.detail["rounds_ms_a_turn"].values())
