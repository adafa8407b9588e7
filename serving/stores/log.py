"""The sessions' logs and leases in SQL, as pieces of work for a lane: what must be together is one of them.

The head row is the lock: it moves from the event a writer knows to the one it adds, or the writer was not first.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Dialect, RowMapping, and_, bindparam, insert, null, or_, select, tuple_, update

from agents.domain.errors import NotFound, TurnInProgress
from agents.domain.events import Event, HandoffClaimed, HandoffClosed, SessionStarted, StoredEvent, TurnStarted
from agents.ports import Clock, Lease, TurnOpening
from serving.stores import handoffs, tables
from serving.stores.chain import Links, link
from serving.stores.codec import read_event
from serving.stores.personal import merged, read
from serving.stores.prepared import Prepared
from serving.stores.signing import Signer

_s, _e, _p, _h, _t = tables.sessions.c, tables.events.c, tables.personal.c, tables.heads.c, tables.turns.c
# Statements are made once: SQLAlchemy keeps what it compiled of them.
EVENTS = (
    select(tables.events, _p.body.label("personal"))
    .select_from(tables.events.outerjoin(tables.personal, and_(_p.session_id == _e.session_id, _p.seq == _e.seq)))
    .where(_e.session_id == bindparam("session"), _e.seq > bindparam("after"))
    .order_by(_e.seq)
)
HASH_AT = select(_e.hash).where(_e.session_id == bindparam("session"), _e.seq == bindparam("at_seq"))
SESSION = select(tables.sessions).where(_s.id == bindparam("session"))
STANDING = (
    select(_s.lease_holder, _s.lease_until, _h.seq, _h.hash, _t.turn_id)
    .select_from(
        tables.sessions.outerjoin(tables.heads, _h.session_id == _s.id).outerjoin(
            tables.turns, and_(_t.session_id == _s.id, _t.idempotency_key == bindparam("key"))
        )
    )
    .where(_s.id == bindparam("session"))
    .with_for_update(of=tables.sessions)
)
FREE = or_(_s.lease_holder.is_(None), _s.lease_holder == bindparam("holder"), _s.lease_until < bindparam("now"))
LEASE = (
    update(tables.sessions)
    .where(_s.id == bindparam("session"), FREE)
    .values(lease_holder=bindparam("holder"), lease_until=bindparam("until"))
)
RELEASE = (
    update(tables.sessions)
    .where(_s.id == bindparam("session"), _s.lease_holder == bindparam("holder"))
    .values(lease_holder=null(), lease_until=null())
)
MOVE_HEAD = (
    update(tables.heads)
    .where(_h.session_id == bindparam("session"), _h.seq == bindparam("was_seq"), _h.hash == bindparam("was_hash"))
    .values(seq=bindparam("to_seq"), hash=bindparam("to_hash"), signature=bindparam("signed"))
)
_HELD = tuple_(_s.id, _s.lease_holder).in_(bindparam("held", expanding=True))
HELD = select(_s.id).where(_HELD)
RENEW = update(tables.sessions).where(_HELD).values(lease_until=bindparam("until")).returning(_s.id, _s.lease_holder)
EXPIRED = select(_s.id, _s.lease_holder, _s.lease_until).where(_s.lease_holder.is_not(None), _s.lease_until < bindparam("now"))
HEAD = select(_h.seq).where(_h.session_id == bindparam("session"))
HEADS = select(_h.session_id, _h.seq).where(_h.session_id.in_(bindparam("sessions", expanding=True)))
TURN_BY_KEY = select(_t.turn_id).where(_t.session_id == bindparam("session"), _t.idempotency_key == bindparam("key"))


class Log:
    """Every method is one piece of work; a KeepwordError of theirs comes before the first write."""

    def __init__(self, clock: Clock, signer: Signer, dialect: Dialect) -> None:
        self._clock, self._signer = clock, signer
        # the order lanes lock sessions in: by code point, whatever the database's language
        self.in_order = _s.id.collate("C") if dialect.name == "postgresql" else _s.id
        self._move, self._release = Prepared(MOVE_HEAD, dialect), Prepared(RELEASE, dialect)
        self._heads = Prepared(insert(tables.heads), dialect)
        self._inserts = [
            (table.name, Prepared(insert(table), dialect)) for table in (tables.events, tables.personal, tables.turns)
        ]

    def append(
        self,
        connection: Connection,
        session_id: str,
        events: Sequence[Event],
        seq: int,
        before: str | None,
        release: str | None,
    ) -> tuple[StoredEvent, ...]:
        """Hang `events` on event `seq`. `before`: its hash, where the caller knows it; `release`: whose lease ends with it."""
        if seq == 0:
            links = self._link(session_id, events, 0, "")
            connection.execute(insert(tables.sessions), self._session_row(session_id, events[0]))
            self._heads.run(connection, {"session_id": session_id} | links.head)
        else:
            before = before or self._hash_at(connection, session_id, seq)
            changes = [each for each in events if isinstance(each, HandoffClaimed | HandoffClosed)]
            for each in changes:
                handoffs.check(connection, each)
            links = self._link(session_id, events, seq, before)
            self._move_head(connection, session_id, seq, before, links)
            for each in changes:
                handoffs.change(connection, each, self._clock.now())
        self._insert(connection, links)
        if release is not None:
            self.release_lease(connection, session_id, release)
        return links.stored

    def open_turn(
        self, connection: Connection, session_id: str, events: Sequence[Event], seq: int, before: str, ttl_s: float
    ) -> TurnOpening:
        """See `agents.ports.Store.open_turn`; the last of `events` is the TurnStarted."""
        started, now = events[-1], self._clock.now()
        if not isinstance(started, TurnStarted):
            raise TypeError("a turn begins with TurnStarted")
        standing = connection.execute(STANDING, {"session": session_id, "key": started.idempotency_key}).one_or_none()
        if standing is None:
            raise no_session(session_id)
        if standing.turn_id is not None:
            return TurnOpening(repeats=str(standing.turn_id))
        if standing.lease_holder is not None and standing.lease_until >= now:
            raise TurnInProgress("this session is answering another message")
        if (standing.seq or seq) != seq or (standing.hash or before) != before:
            return TurnOpening(missed=self.events(connection, session_id, min(seq, standing.seq - 1)))
        links = self._link(session_id, events, seq, before)
        self._move_head(connection, session_id, seq, before, links)
        self._insert(connection, links)
        until = now + timedelta(seconds=ttl_s)
        connection.execute(LEASE, {"session": session_id, "holder": started.turn_id, "now": now, "until": until})
        return TurnOpening(stored=links.stored)

    def events(self, connection: Connection, session_id: str, after_seq: int) -> tuple[StoredEvent, ...]:
        rows = connection.execute(EVENTS, {"session": session_id, "after": after_seq}).mappings().all()
        if not rows:
            self.session(connection, session_id)
        return tuple(stored_event(row) for row in rows)

    def last_seqs(self, connection: Connection, session_ids: Sequence[str]) -> dict[str, int]:
        return {row.session_id: row.seq for row in connection.execute(HEADS, {"sessions": list(session_ids)})}

    def session(self, connection: Connection, session_id: str) -> RowMapping:
        row = connection.execute(SESSION, {"session": session_id}).mappings().one_or_none()
        if row is None:
            raise no_session(session_id)
        return row

    def acquire_lease(self, connection: Connection, session_id: str, holder: str, ttl_s: float) -> bool:
        now = self._clock.now()
        taken = {"session": session_id, "holder": holder, "now": now, "until": now + timedelta(seconds=ttl_s)}
        if connection.execute(LEASE, taken).rowcount:
            return True
        self.session(connection, session_id)
        return False

    def release_lease(self, connection: Connection, session_id: str, holder: str) -> None:
        self._release.run(connection, {"session": session_id, "holder": holder})

    def renew_leases(self, connection: Connection, held: Sequence[tuple[str, str]], ttl_s: float) -> frozenset[tuple[str, str]]:
        until = self._clock.now() + timedelta(seconds=ttl_s)
        if connection.dialect.name == "postgresql":  # an UPDATE alone would lock them in any order
            connection.execute(HELD.order_by(self.in_order).with_for_update(), {"held": list(held)})
        rows = connection.execute(RENEW, {"held": list(held), "until": until}).all()
        return frozenset((str(row.id), str(row.lease_holder)) for row in rows)

    def expired_leases(self, connection: Connection) -> tuple[Lease, ...]:
        rows = connection.execute(EXPIRED, {"now": self._clock.now()}).all()
        return tuple(Lease(row.id, row.lease_holder, row.lease_until) for row in rows)

    def turn_by_key(self, connection: Connection, session_id: str, key: str) -> str | None:
        found = connection.execute(TURN_BY_KEY, {"session": session_id, "key": key}).scalar_one_or_none()
        return None if found is None else str(found)

    def _link(self, session_id: str, events: Sequence[Event], seq: int, before: str) -> Links:
        return link(session_id, events, seq=seq, before=before, clock=self._clock, signer=self._signer)

    def _move_head(self, connection: Connection, session_id: str, seq: int, before: str, links: Links) -> None:
        """Raises TurnInProgress when another writer has moved it."""
        was = {"session": session_id, "was_seq": seq, "was_hash": before}
        to = {"to_seq": links.head["seq"], "to_hash": links.head["hash"], "signed": links.head["signature"]}
        if self._move.run(connection, was | to):
            return
        if connection.execute(HEAD, {"session": session_id}).first() is not None:
            raise TurnInProgress("another message of this session was first")
        self._heads.run(connection, {"session_id": session_id} | links.head)  # a log from before there were heads

    def _insert(self, connection: Connection, links: Links) -> None:
        for name, statement in self._inserts:
            statement.run_many(connection, getattr(links, name))
        if links.handoffs:
            connection.execute(insert(tables.handoffs), links.handoffs)

    def _hash_at(self, connection: Connection, session_id: str, seq: int) -> str:
        value = connection.execute(HASH_AT, {"session": session_id, "at_seq": seq}).scalar_one_or_none()
        if value is None:
            raise NotFound(f"session {session_id!r} has no event {seq}")
        return str(value)

    def _session_row(self, session_id: str, first: Event) -> dict[str, Any]:
        if not isinstance(first, SessionStarted):
            raise TypeError("a session begins with SessionStarted")
        return {
            "id": session_id,
            "customer_id": first.customer_id,
            "pack": first.pack,
            "tenant": first.tenant,
            "created_at": self._clock.now(),
        }


def no_session(session_id: str) -> NotFound:
    return NotFound(f"no session {session_id!r}", hint="Open one with POST /v1/sessions.")


def stored_event(row: RowMapping) -> StoredEvent:
    fields = merged(read(row["body"]), read(row["personal"]) if row["personal"] is not None else None)
    return StoredEvent(row["seq"], datetime.fromisoformat(row["at"]), read_event(fields), row["hash"])
