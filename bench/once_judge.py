"""What a trial of `keepword eval exactly-once` was, what it came to, and whether that is exactly once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from agents.domain.words import ActionStatus
from bench.faults import FAULTS, STEPS_OF_SEVERAL, Fault
from bench.result import BenchResult, bar, quantile

OPEN = {status.value for status in (ActionStatus.PLANNED, ActionStatus.INTENDED, ActionStatus.UNKNOWN, ActionStatus.STUCK)}
LEFT, HALF = "left unknown", "half done"


@dataclass(frozen=True, slots=True)
class Trial:
    """`step` None: the process lives. `lands_later`: the killed process's request reaches the tool after the recovery.
    `several`: an offer of two writes; `second` is what its second write meets, `undoing` what undoing the first meets."""

    step: str | None
    fault: Fault = "none"
    idempotent: bool = True
    again: bool = False
    lands_later: bool = False
    several: bool = False
    second: Fault = "none"
    undoing: Fault = "none"


@dataclass(frozen=True, slots=True)
class Ended:
    """What a trial came to. `statuses` are its ledger lines' (none: no line), `moved` how often the money of each write did."""

    trial: Trial
    killed: bool
    statuses: tuple[str, ...]
    moved: tuple[int, ...]
    handed_over: bool
    recovery_s: float

    def wrong(self) -> str | None:
        """Why this is not exactly once; None when it is. All writes of an offer are done, or none is, or a person has it."""
        if any(times > 1 for times in self.moved):
            return "moved twice"
        if OPEN & set(self.statuses):
            return None if self.handed_over else LEFT
        done = self.statuses == (ActionStatus.DONE.value,) * len(self.moved)
        if self.moved != (int(done),) * len(self.moved):
            how, said = HALF if len(set(self.moved)) > 1 else "not as written", ", ".join(self.statuses) or "nothing"
            return f"{how}: ledger says {said}, money moved {self.moved} times"
        tried = not self.trial.several or not self.statuses  # else its first process told the customer, and closed the offer
        return "a yes was given again and not carried out" if self.trial.again and not done and tried else None


def result(ended: Mapping[str, Sequence[Ended]]) -> BenchResult:
    everything = [(database, each) for database, trials in ended.items() for each in trials]
    wrong = [(database, each, why) for database, each in everything if (why := each.wrong()) is not None]
    recovered = [each.recovery_s for _, each in everything if each.recovery_s]
    not_killed = sum(each.trial.step is not None and not each.killed for _, each in everything)
    bars = {
        "not_exactly_once": bar(sum(why != LEFT for _, _, why in wrong), 0),
        "half_done": bar(sum(why.startswith(HALF) for _, _, why in wrong), 0),
        "left_unknown": bar(sum(why == LEFT for _, _, why in wrong), 0),
        "kills_that_missed": bar(not_killed, 0),
        "trials_a_database": bar(min(len(trials) for trials in ended.values()), None),
        "recovery_p99_s": bar(quantile(recovered, 0.99), None),
    }
    return BenchResult(
        "eval exactly-once",
        bars,
        {
            "steps": list(STEPS_OF_SEVERAL),
            "faults": [*FAULTS, "lands after the recovery", "a tool without keys"],
            "databases": {database: dict(_tally(trials)) for database, trials in ended.items()},
            "recovery_s": {"p50": round(quantile(recovered, 0.5), 4), "max": round(max(recovered, default=0.0), 4)},
            "wrong": [{"database": database, "why": why, **asdict(each)} for database, each, why in wrong[:10]],
        },
    )


def _tally(trials: Sequence[Ended]) -> Counter[str]:
    """How trials ended: killed or not, the ledger's word, times the money moved."""
    return Counter(
        f"{'killed' if each.killed else 'lived'}, {' + '.join(each.statuses) or 'no line'}, moved {each.moved}"
        + (", handed over" if each.handed_over else "")
        for each in trials
    )
