"""What a process remembers of sessions, and when it must not."""

import pickle
from dataclasses import replace
from datetime import UTC, datetime

from agents.domain.events import Event, PersonalErased, SessionStarted, StoredEvent, TurnDone, TurnStarted
from agents.known import Known, KnownSessions

NOW = datetime(2026, 11, 25, tzinfo=UTC)
STARTED = SessionStarted("ses_1", "shop", "C-001", "en")


def stored(*events: Event, first: int = 1) -> tuple[StoredEvent, ...]:
    return tuple(StoredEvent(seq, NOW, event, f"hash-{seq}") for seq, event in enumerate(events, first))


def test_what_was_missed_is_folded_in() -> None:
    known = Known.of(stored(STARTED))
    later = known.after(stored(TurnStarted("t1", "hello", "en"), TurnDone("t1", "hi", {}, {}, ()), first=2))
    assert later is not None
    assert (later.seq, later.hash) == (3, "hash-3")
    assert (later.state.line_count, later.state.customer_said, later.state.desk_said) == (2, "hello", "hi")


def test_what_is_known_does_not_grow_with_the_conversation() -> None:
    def size(turns: int) -> int:
        said = [(TurnStarted(f"t{n}", f"{n} hello", "en"), TurnDone(f"t{n}", f"{n} hi", {}, {}, ())) for n in range(turns)]
        return len(pickle.dumps(Known.of(stored(STARTED, *(event for turn in said for event in turn))).state))

    assert size(1000) < size(10) + 20  # its numbers are longer


def test_a_log_that_does_not_go_on_from_what_is_known_must_be_read_whole() -> None:
    known = Known.of(stored(STARTED, TurnStarted("t1", "hello", "en")))
    assert known.after(stored(TurnStarted("t2", "other", "en"), first=2)) is None
    assert known.after(()) is None


def test_what_was_erased_is_not_remembered() -> None:
    known = Known.of(stored(STARTED))
    assert known.after(stored(PersonalErased(), first=2)) is None


def test_the_least_recently_used_leave_first_and_everybody_after_a_while() -> None:
    sessions, known = KnownSessions(most=2, kept_s=60.0), Known.of(stored(STARTED))
    for number in range(3):
        sessions.keep(f"ses_{number}", replace(known, seq=number), now=float(number))
    assert sessions.take("ses_0") is None
    sessions.keep("ses_3", known, now=200.0)
    assert sessions.take("ses_2") is None
    assert sessions.take("ses_3") == known
    assert sessions.take("ses_3") is None
