"""Caps under real concurrency: four processes, PostgreSQL, whole turns."""

from bench.caps import run


def test_no_cap_is_exceeded_and_all_of_it_can_be_had() -> None:
    result = run(quick=True)
    assert result.ok, result.as_dict()
    assert result.detail["outcomes"]["cap"]["done"] == 10
    assert result.detail["outcomes"]["race"]["done"] == 4
