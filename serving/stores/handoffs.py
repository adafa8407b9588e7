"""Promised handoffs as operators see them: whose they are, who has them. Changed only together with the session's log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from agents.domain.errors import HandoffTaken, NotFound
from agents.domain.events import HandoffClaimed, HandoffClosed
from agents.domain.words import Handoff
from serving.stores import tables
from serving.stores.connection import transaction

MOST = 500  # handoffs in one listing


@dataclass(frozen=True, slots=True)
class TrackedHandoff:
    """A promise and what became of it. `tenant` is the session's."""

    handoff: Handoff
    tenant: str
    claimed_by: str | None = None
    claimed_at: datetime | None = None
    closed_at: datetime | None = None


class HandoffStore:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def listed(self, *, tenant: str | None, closed: bool = False) -> Sequence[TrackedHandoff]:
        """A tenant's handoffs (None: everybody's), the most urgent first; `closed` ones too when asked for."""
        query = _all().order_by(tables.handoffs.c.due_at, tables.handoffs.c.id).limit(MOST)
        if tenant is not None:
            query = query.where(tables.sessions.c.tenant == tenant)
        if not closed:
            query = query.where(tables.handoffs.c.closed_at.is_(None))
        async with transaction(self._engine) as connection:
            return [_tracked(row) for row in (await connection.execute(query)).mappings()]

    async def find(self, handoff_id: str) -> TrackedHandoff:
        """Raises NotFound."""
        async with transaction(self._engine) as connection:
            query = _all().where(tables.handoffs.c.id == handoff_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"no handoff {handoff_id!r}", hint="See GET /v1/handoffs.")
        return _tracked(row)

    async def session_tenant(self, session_id: str) -> str:
        """Raises NotFound."""
        async with transaction(self._engine) as connection:
            query = select(tables.sessions.c.tenant).where(tables.sessions.c.id == session_id)
            found = (await connection.execute(query)).scalar_one_or_none()
        if found is None:
            raise NotFound(f"no session {session_id!r}", hint="Open one with POST /v1/sessions.")
        return str(found)


def check(connection: Connection, event: HandoffClaimed | HandoffClosed) -> None:
    """Raises HandoffTaken when the row is not free for this claim, or not this operator's to close."""
    if connection.execute(select(tables.handoffs.c.id).where(*_free_for(event))).first() is None:
        raise HandoffTaken("another operator was first", hint="See GET /v1/handoffs.")


def change(connection: Connection, event: HandoffClaimed | HandoffClosed, at: datetime) -> None:
    """The row of a claim or an end, in the transaction that appends the event, once the session's head has moved: whoever
    comes second finds the head moved."""
    claimed = isinstance(event, HandoffClaimed)
    values = {"claimed_by": event.operator, "claimed_at": at} if claimed else {"closed_at": at}
    connection.execute(update(tables.handoffs).where(tables.handoffs.c.id == event.handoff_id).values(values))


def _free_for(event: HandoffClaimed | HandoffClosed) -> tuple[ColumnElement[bool], ...]:
    c = tables.handoffs.c
    mine = c.claimed_by.is_(None) if isinstance(event, HandoffClaimed) else c.claimed_by == event.operator
    return (c.id == event.handoff_id, c.closed_at.is_(None), mine)


def _all() -> Select[Any]:
    h, s = tables.handoffs, tables.sessions
    return select(h, s.c.tenant).join(s, s.c.id == h.c.session_id)


def _tracked(row: RowMapping) -> TrackedHandoff:
    handoff = Handoff(row["id"], row["session_id"], row["reason"], row["owner"], row["due_at"])
    return TrackedHandoff(handoff, row["tenant"], row["claimed_by"], row["claimed_at"], row["closed_at"])
