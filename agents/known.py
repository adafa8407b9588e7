"""Sessions as this process last knew them, so that a turn need not read the whole log again. Bounded in number and in time.

Never trusted: a turn opens only if the log still ends where the known state does; what others wrote meanwhile is folded in.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import reduce

from agents.domain.events import PersonalErased, StoredEvent
from agents.domain.session import SessionState, apply, fold

MOST = 10_000  # of some 8 KiB each
KEPT_S = 15 * 60.0  # after that a visit is over, and nothing of it should stay in memory


@dataclass(frozen=True, slots=True)
class Known:
    """A session's state after event `seq`, whose hash is `hash`."""

    seq: int
    hash: str
    state: SessionState

    @classmethod
    def of(cls, stored: tuple[StoredEvent, ...]) -> "Known":
        """From a whole log."""
        return cls(stored[-1].seq, stored[-1].hash, fold(each.event for each in stored))

    def after(self, missed: tuple[StoredEvent, ...]) -> "Known | None":
        """With what was missed; None when only the whole log can tell: the log is not the one that was known, or what was
        known has been erased."""
        if not missed or missed[0].seq != self.seq + 1 or any(isinstance(each.event, PersonalErased) for each in missed):
            return None
        return Known(missed[-1].seq, missed[-1].hash, reduce(apply, (each.event for each in missed), self.state))


class KnownSessions:
    """Least recently used ones leave first. Times in seconds of a monotonic clock."""

    def __init__(self, most: int = MOST, kept_s: float = KEPT_S) -> None:
        self._most, self._kept_s = most, kept_s
        self._known: OrderedDict[str, tuple[float, Known]] = OrderedDict()

    def keep(self, session_id: str, known: Known, now: float) -> None:
        self._known[session_id] = (now, known)
        self._known.move_to_end(session_id)
        while len(self._known) > self._most or next(iter(self._known.values()))[0] < now - self._kept_s:
            self._known.popitem(last=False)

    def take(self, session_id: str) -> Known | None:
        """What is known of a session, which is then no longer kept: its turn keeps it again when it has ended."""
        found = self._known.pop(session_id, None)
        return None if found is None else found[1]
