"""Two clients, one server."""

from bench.load.crosscheck import METRICS, QUICK, Sizes, result, run


def test_clients_that_differ_fall_short_by_the_name_of_the_figure() -> None:
    one = {metric: 100.0 for metric in METRICS} | {"failed": 0}
    odd = [one, one | {"ttft_p50_ms": 110.0}, one | {"ttft_p50_ms": 112.0}]
    told = result({"steady": {"ours": odd, "theirs": [one] * 3}, "closed": {"ours": odd, "theirs": [one] * 3}}, Sizes())
    assert [name for name, bar in told.bars.items() if not bar.ok] == ["steady_ttft_p50_ms_apart"]
    assert told.detail["ours_over_theirs"]["closed"]["ttft_p50_ms"] == 1.1


def test_a_failed_request_falls_short() -> None:
    one = {metric: 100.0 for metric in METRICS} | {"failed": 1}
    assert not result({"closed": {"ours": [one], "theirs": [one]}}, QUICK).bars["failed_requests"].ok


async def test_both_clients_run_against_the_simulated_server() -> None:
    told = await run(seed=0, quick=True, progress=lambda done, total: None)
    assert told.bars["failed_requests"].ok
    ours, theirs = (told.detail["runs"]["closed"][client][0] for client in ("ours", "theirs"))
    assert 0.5 < ours["requests_per_s"] / theirs["requests_per_s"] < 2.0  # a guard against another unit, not a timing
    assert told.detail["sizes"]["loads"][0]["requests"] == 16
