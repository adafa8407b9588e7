"""Changes to the log are found at their place, and sessions replay, in small."""

from bench.audit import KINDS, run


async def test_every_kind_of_change_is_found_and_every_session_replays() -> None:
    result = await run(quick=True)
    assert result.ok, result.as_dict()
    assert set(result.detail["changes"]) == set(KINDS)
