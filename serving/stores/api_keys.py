"""API keys at rest: their digests, what they open, and when they were revoked."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from agents.domain.errors import BadInput, NotFound
from serving.admission.keys import KeyRecord
from serving.admission.tickets import Limits, Scope
from serving.stores import tables
from serving.stores.connection import transaction


class ApiKeyStore:
    """Implements `serving.admission.keys.KeyStore`, and what `keepword keys` needs."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, key_id: str) -> KeyRecord | None:
        async with transaction(self._engine) as connection:
            query = select(tables.api_keys).where(tables.api_keys.c.id == key_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _record(row)

    async def add(self, record: KeyRecord) -> None:
        """Raises BadInput when a living key of the tenant has this name: operators are known by it."""
        c, limits = tables.api_keys.c, record.limits
        same = select(c.id).where(c.tenant == record.tenant, c.name == record.name, c.revoked_at.is_(None))
        values = {
            "id": record.id,
            "digest": record.digest,
            "tenant": record.tenant,
            "name": record.name,
            "scopes": " ".join(sorted(record.scopes)),
            "turns_in_flight": limits.turns_in_flight,
            "tokens_per_minute": limits.tokens_per_minute,
            "weight": limits.weight,
            "created_at": record.created_at,
        }
        async with transaction(self._engine) as connection:
            if (await connection.execute(same)).first() is not None:
                hint = "Choose another name, or revoke that key first."
                raise BadInput(f"there is a key named {record.name!r} already", field="name", hint=hint)
            await connection.execute(insert(tables.api_keys).values(values))

    async def all(self) -> Sequence[KeyRecord]:
        """Every key, oldest first, revoked ones too."""
        async with transaction(self._engine) as connection:
            query = select(tables.api_keys).order_by(tables.api_keys.c.created_at, tables.api_keys.c.id)
            return [_record(row) for row in (await connection.execute(query)).mappings()]

    async def revoke(self, key_id: str, at: datetime) -> KeyRecord:
        """Revoke a key; one that is revoked stays as it is. Raises NotFound."""
        c = tables.api_keys.c
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(tables.api_keys).where(c.id == key_id, c.revoked_at.is_(None)).values(revoked_at=at)
            )
            row = (await connection.execute(select(tables.api_keys).where(c.id == key_id))).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no key {key_id!r}", hint="See `keepword keys list`.")
        return _record(row)


def _record(row: RowMapping) -> KeyRecord:
    return KeyRecord(
        id=row["id"],
        digest=row["digest"],
        tenant=row["tenant"],
        name=row["name"],
        scopes=frozenset(Scope(each) for each in row["scopes"].split()),
        limits=Limits(row["turns_in_flight"], row["tokens_per_minute"], row["weight"]),
        created_at=row["created_at"],
        revoked=row["revoked_at"] is not None,
    )
