"""Whether facts read a moment ago can still be believed: another action on the same thing may have changed them since."""

from collections.abc import Iterable, Sequence

from agents.domain.words import ActionRecord, ActionStatus, Proposal

OPEN = frozenset({ActionStatus.PLANNED, ActionStatus.INTENDED, ActionStatus.UNKNOWN})


def disturbed(
    proposal: Proposal, before: Sequence[ActionRecord], now: Sequence[ActionRecord], references: Iterable[str]
) -> bool:
    """True when a ledger line about the same thing is open, or moved on since `before` was read.

    `before` are the customer's lines read *before* the facts were, `now` those there are now; two lines are about the same
    thing when one of the arguments named in `references` (order_id, …) has the same value.
    """
    seen = {line.key: line.status for line in before}
    names = tuple(references)
    return any(
        line.status in OPEN or seen.get(line.key) is not line.status
        for line in now
        if _same_thing(proposal, line.proposal, names)
    )


def _same_thing(one: Proposal, other: Proposal, references: Sequence[str]) -> bool:
    return any(one.args.get(name) not in (None, "") and one.args.get(name) == other.args.get(name) for name in references)
