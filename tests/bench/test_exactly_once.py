"""Real processes, really killed, on both databases; and that the judge of a trial would see a wrong one."""

import pytest

from agents.domain.words import ActionStatus
from bench.exactly_once import Ended, Trial, run
from bench.faults import FAULTS, STEPS


def test_money_moves_exactly_once_whatever_dies() -> None:
    result = run(quick=True)
    assert result.ok, result.as_dict()
    assert result.bars["trials_a_database"].value >= len(STEPS) + len(FAULTS)


@pytest.mark.parametrize(
    ("status", "moved", "handed_over", "again", "why"),
    [
        (ActionStatus.DONE, 2, False, False, "moved 2 times"),
        (ActionStatus.DONE, 0, False, False, "moved 0 times"),
        (ActionStatus.FAILED, 1, True, False, "moved 1 times"),
        (ActionStatus.UNKNOWN, 1, False, False, "left unknown"),
        (ActionStatus.UNKNOWN, 2, True, False, "moved twice"),
        (ActionStatus.FAILED, 0, True, True, "not carried out"),
    ],
)
def test_the_judge_sees_what_is_wrong(status: ActionStatus, moved: int, handed_over: bool, again: bool, why: str) -> None:
    ended = Ended(Trial(None, again=again), False, status.value, moved, handed_over, 0.0)
    assert why in (ended.wrong() or "")


def test_the_judge_accepts_a_refusal_that_moved_nothing() -> None:
    assert Ended(Trial(None), False, ActionStatus.FAILED.value, 0, False, 0.0).wrong() is None
