"""Verdicts over synthetic rules, in small: fast enough, and the same as Rego and Cedar give."""

from bench.policy import run


def test_verdicts_agree_with_rego_and_cedar() -> None:
    result = run(quick=True)
    assert result.bars["disagreements_with_peers"].ok, result.as_dict()
    for measured in result.detail.values():
        if isinstance(measured, dict):
            assert measured["cedar"]["verdicts"] == measured["keepword"]["verdicts"]
            assert measured["rego"]["verdicts"] > 0
            assert 0 < measured["allowed"] < measured["keepword"]["verdicts"]
