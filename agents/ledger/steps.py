"""An offer of several writes, as its ledger lines tell it: whose turn it is, what follows from a settled line, how it stands.

Its steps are carried out in order. When one certainly did not happen, those done before are undone, the last first, each by a
line of its own; where nothing undoes one, a person has to look (a saga: Garcia-Molina and Salem, SIGMOD 1987). Pure: whoever
reads the lines after a crash comes to the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from agents.domain.words import ActionRecord, ActionStatus, Compensation, Offer, Proposal

UNDER_WAY = frozenset({ActionStatus.INTENDED, ActionStatus.UNKNOWN})
NOT_DONE = frozenset({ActionStatus.REFUSED, ActionStatus.FAILED})
Compensations = Mapping[str, Compensation | None]  # write tool -> what undoes it


class Standing(StrEnum):
    """How an offer stands."""

    DONE = "done"  # every step
    FAILED = "failed"  # nothing was ever done
    UNDONE = "undone"  # nothing is done any more
    PENDING = "pending"  # not known yet, or not at its end
    HALF_DONE = "half done"  # a person has to look


def planned(offer: Offer, first: ActionRecord) -> tuple[ActionRecord, ...]:
    """The lines of an offer's later steps, as they are written beside the intent of its `first`."""
    return tuple(
        replace(
            first,
            key=f"{offer.id}.{number}",
            proposal=step.proposal,
            amount_cents=step.amount.minor if step.amount is not None else None,
            status=ActionStatus.PLANNED,
            step=number,
        )
        for number, step in enumerate(offer.then, 1)
    )


def next_line(lines: Sequence[ActionRecord]) -> ActionRecord | None:
    """The planned line whose turn it is; None at the end, and while a line is under way or stuck."""
    if any(line.status in UNDER_WAY or line.status is ActionStatus.STUCK for line in lines):
        return None
    return next((line for line in lines if line.status is ActionStatus.PLANNED), None)


def follows(
    settled: ActionRecord, lines: Sequence[ActionRecord], undone_by: Compensations, stamp: Mapping[str, Any], now: datetime
) -> tuple[ActionRecord, ...]:
    """What else has to be written with `settled`. `lines` are the offer's as they were; `stamp` is the result of a line that is
    planned now."""
    if settled.undoes:
        return _after_undoing(settled, lines)
    steps = [settled if line.key == settled.key else line for line in lines if not line.undoes]
    if not any(step.status in NOT_DONE or step.status is ActionStatus.UNDONE for step in steps):
        return ()
    given_up = {"reason": "not carried out: another step of the offer was not"}
    dropped = [replace(s, status=ActionStatus.FAILED, result=given_up) for s in steps if s.status is ActionStatus.PLANNED]
    taken_back = {line.undoes for line in lines if line.undoes}
    done = [step for step in reversed(steps) if step.status is ActionStatus.DONE and step.key not in taken_back]
    undoing = [_undoing(step, undone_by.get(step.proposal.action), stamp, now) for step in done]
    stuck = [line for line in undoing if line.status is ActionStatus.STUCK]
    return (*dropped, *(stuck[:1] or undoing))  # past a step that nothing undoes there is no way back: the rest stays done


def standing(lines: Sequence[ActionRecord]) -> Standing:
    statuses = {line.status for line in lines}
    if ActionStatus.STUCK in statuses:
        return Standing.HALF_DONE
    if statuses & (UNDER_WAY | {ActionStatus.PLANNED}):
        return Standing.PENDING
    steps = [line.status for line in lines if not line.undoes]
    if all(status is ActionStatus.DONE for status in steps):
        return Standing.DONE
    if ActionStatus.DONE in steps:
        return Standing.PENDING  # what follows is not written yet
    return Standing.UNDONE if ActionStatus.UNDONE in steps else Standing.FAILED


def told(lines: Sequence[ActionRecord]) -> str:
    """How each line of an offer ended, for the person who has to look into it."""
    said = [f"{line.proposal.action or 'undoing'} {line.status.value}" for line in lines]
    return f"{standing(lines).value}: {', '.join(said)} ({lines[0].offer_id or lines[0].key})"


def _after_undoing(settled: ActionRecord, lines: Sequence[ActionRecord]) -> tuple[ActionRecord, ...]:
    if settled.status is ActionStatus.DONE:
        return tuple(replace(line, status=ActionStatus.UNDONE) for line in lines if line.key == settled.undoes)
    if settled.status is not ActionStatus.STUCK:
        return ()
    left = {"reason": "not undone: a later step could not be"}
    waiting = [line for line in lines if line.undoes and line.status is ActionStatus.PLANNED and line.key != settled.key]
    return tuple(replace(line, status=ActionStatus.FAILED, result=left) for line in waiting)


def _undoing(step: ActionRecord, by: Compensation | None, stamp: Mapping[str, Any], now: datetime) -> ActionRecord:
    """The line that undoes `step`; a stuck one where its pack or its receipt does not say how."""
    line = replace(step, key=f"{step.key}.undo", undoes=step.key, at=now, status=ActionStatus.PLANNED, result=dict(stamp))
    values = {"args": step.proposal.args, "receipt": step.result}
    args: dict[str, Any] = {}
    for name, source in (by.args if by is not None else {}).items():
        origin, _, field = source.partition(".")
        if values.get(origin, {}).get(field) is None:
            return replace(line, proposal=Proposal("", {}), status=ActionStatus.STUCK, result={"reason": f"no {source}"})
        args[name] = values[origin][field]
    if by is None:
        reason = f"nothing undoes {step.proposal.action}"
        return replace(line, proposal=Proposal("", {}), status=ActionStatus.STUCK, result={"reason": reason})
    return replace(line, proposal=Proposal(by.tool, args))
