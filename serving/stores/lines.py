"""The ledger's lines as rows: what each statement may change, so that of two processes at one line only one moves it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from agents.domain.words import ActionRecord, ActionStatus
from agents.ports import Permits
from serving.stores.codec import action_fields, read_action
from serving.stores.tables import actions

UNDER_WAY = (ActionStatus.INTENDED.value, ActionStatus.UNKNOWN.value)
OPEN = (ActionStatus.PLANNED.value, *UNDER_WAY)
COUNTED = (*OPEN, ActionStatus.DONE.value)
UNSETTLED = (*OPEN, ActionStatus.STUCK.value)
NOT_DONE = (ActionStatus.REFUSED.value, ActionStatus.FAILED.value)
MOVES = {  # what a line becomes when another one is settled -> what it must still be
    ActionStatus.FAILED: ActionStatus.PLANNED.value,
    ActionStatus.UNDONE: ActionStatus.DONE.value,
}
c = actions.c
Asked = tuple[Select[Any], Mapping[str, Any]]  # a query and its values


async def intend(
    connection: AsyncConnection,
    record: ActionRecord,
    then: Sequence[ActionRecord],
    permits: Permits | None,
    since: datetime | None,
) -> ActionRecord:
    """As the port says; the caller holds the customer's turn."""
    row = (await connection.execute(select(actions).where(c.key == record.key))).mappings().one_or_none()
    if row is not None and (row["status"] != ActionStatus.FAILED.value or row["customer_id"] != record.customer_id):
        return from_row(row)
    if permits is not None and not permits(await connection.run_sync(read, counted(record.customer_id, since))):
        record, then = replace(record, status=ActionStatus.FAILED, result={"reason": "no longer permitted"}), ()
    for line in (record, *then):
        anew = update(actions).where(c.key == line.key, c.status == ActionStatus.FAILED.value)
        if row is None or not (await connection.execute(anew.values(_row(line)))).rowcount:
            await connection.execute(insert(actions).values(_row(line)))
    return record


async def begin(connection: AsyncConnection, record: ActionRecord) -> bool:
    query = update(actions).where(c.key == record.key, c.status == ActionStatus.PLANNED.value)
    return bool((await connection.execute(query.values(_some(record, "status", "result", "at")))).rowcount)


async def settle(connection: AsyncConnection, record: ActionRecord, then: Sequence[ActionRecord]) -> None:
    """A receipt is stronger than "it was not carried out": done replaces refused and failed."""
    before = (*UNDER_WAY, *NOT_DONE) if record.status is ActionStatus.DONE else UNDER_WAY
    query = update(actions).where(c.key == record.key, c.status.in_(before))
    if not (await connection.execute(query.values(_some(record, "status", "result")))).rowcount:
        return
    for line in then:
        if line.status in MOVES:
            query = update(actions).where(c.key == line.key, c.status == MOVES[line.status])
            await connection.execute(query.values(_some(line, "status", "result")))
        elif (await connection.execute(select(c.key).where(c.key == line.key))).first() is None:
            await connection.execute(insert(actions).values(_row(line)))


# Statements are made once, their values given beside them: SQLAlchemy keeps what it compiled of them.
_OF_OFFER = select(actions).where(or_(c.offer_id == bindparam("offer"), c.key == bindparam("offer")))
_COUNTED = select(actions).where(c.customer_id == bindparam("customer"), c.status.in_(COUNTED)).order_by(c.at, c.key)
_COUNTED_SINCE = _COUNTED.where(c.at >= bindparam("since"))
_UNSETTLED = select(actions).where(c.status.in_(UNSETTLED)).order_by(c.at, c.key)


def of_offer(offer_id: str) -> Asked:
    return _OF_OFFER, {"offer": offer_id}


def counted(customer_id: str, since: datetime | None) -> Asked:
    if since is None:
        return _COUNTED, {"customer": customer_id}
    return _COUNTED_SINCE, {"customer": customer_id, "since": since}


def unsettled() -> Asked:
    return _UNSETTLED, {}


def read(connection: Connection, asked: Asked) -> tuple[ActionRecord, ...]:
    return tuple(from_row(row) for row in connection.execute(*asked).mappings().all())


def in_order(lines: Sequence[ActionRecord]) -> tuple[ActionRecord, ...]:
    """An offer's steps, then what undoes them, the last step first."""
    return tuple(sorted(lines, key=lambda line: (bool(line.undoes), -line.step if line.undoes else line.step)))


def from_row(row: RowMapping) -> ActionRecord:
    fields = dict(row)
    fields["proposal"] = {"action": fields.pop("action"), "args": fields.pop("args")}
    return read_action(fields)


def _row(record: ActionRecord) -> dict[str, Any]:
    fields = action_fields(record)
    proposal = fields.pop("proposal")
    return {**fields, "action": proposal["action"], "args": proposal["args"], "at": record.at or datetime.now(UTC)}


def _some(record: ActionRecord, *names: str) -> dict[str, Any]:
    row = _row(record)
    return {name: row[name] for name in names}
