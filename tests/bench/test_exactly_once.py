"""Real processes, really killed, on both databases; and that the judge of a trial would see a wrong one."""

import pytest

from agents.domain.words import ActionStatus
from bench.exactly_once import run
from bench.faults import FAULTS, STEPS
from bench.once_judge import Ended, Trial

DONE, FAILED, UNKNOWN = ActionStatus.DONE, ActionStatus.FAILED, ActionStatus.UNKNOWN
UNDONE, PLANNED, STUCK = ActionStatus.UNDONE, ActionStatus.PLANNED, ActionStatus.STUCK


def test_money_moves_exactly_once_whatever_dies() -> None:
    result = run(quick=True)
    assert result.ok, result.as_dict()
    assert result.bars["trials_a_database"].value >= len(STEPS) + len(FAULTS)


@pytest.mark.parametrize(
    ("statuses", "moved", "handed_over", "again", "why"),
    [
        ((DONE,), (2,), False, False, "moved twice"),
        ((DONE,), (0,), False, False, "moved (0,) times"),
        ((FAILED,), (1,), True, False, "moved (1,) times"),
        ((UNKNOWN,), (1,), False, False, "left unknown"),
        ((UNKNOWN,), (2,), True, False, "moved twice"),
        ((FAILED,), (0,), True, True, "not carried out"),
        ((DONE, DONE), (1, 0), False, False, "half done"),
        ((DONE, FAILED), (1, 0), True, False, "half done"),
        ((UNDONE, FAILED, DONE), (1, 0), True, False, "half done"),
        ((UNDONE, FAILED, DONE), (1, 1), True, False, "not as written"),
        ((DONE, FAILED, PLANNED), (1, 0), False, False, "left unknown"),
        ((DONE, FAILED, STUCK), (1, 0), False, False, "left unknown"),
    ],
)
def test_the_judge_sees_what_is_wrong(
    statuses: tuple[ActionStatus, ...], moved: tuple[int, ...], handed_over: bool, again: bool, why: str
) -> None:
    assert why in (ended(statuses, moved, handed_over, again).wrong() or "")


@pytest.mark.parametrize(
    ("statuses", "moved"),
    [
        ((FAILED,), (0,)),
        ((DONE, DONE), (1, 1)),
        ((UNDONE, FAILED, DONE), (0, 0)),
        ((DONE, FAILED, STUCK), (1, 0)),
        ((), (0, 0)),
    ],
)
def test_the_judge_accepts_all_none_and_a_person(statuses: tuple[ActionStatus, ...], moved: tuple[int, ...]) -> None:
    assert ended(statuses, moved, handed_over=True).wrong() is None


def ended(statuses: tuple[ActionStatus, ...], moved: tuple[int, ...], handed_over: bool = False, again: bool = False) -> Ended:
    trial = Trial(None, again=again, several=len(moved) > 1)
    return Ended(trial, False, tuple(status.value for status in statuses), moved, handed_over, 0.0)
