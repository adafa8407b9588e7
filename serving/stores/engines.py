"""How the store reaches its database: one pooled engine for the event loop, and lanes (threads) for the sessions' logs."""

from typing import Any

from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from serving.stores.lanes import Lane

WRITERS = 4  # of PostgreSQL; SQLite has one writer at all
READERS = 2
DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}  # those that block, for threads


def pooled(url: str) -> AsyncEngine:
    """For the ledger, the audit and what is rare."""
    engine = create_async_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _sqlite_pragmas)
    return engine


def lanes(url: str) -> tuple[tuple[Lane, ...], tuple[Lane, ...]]:
    """(writing, reading) lanes to the same database. Nothing is connected yet."""
    place = make_url(url)
    backend = place.get_backend_name()
    engine = create_engine(place.set(drivername=DRIVERS.get(backend, backend)), poolclass=NullPool)
    if backend != "sqlite":
        return (_lanes(engine, "log-writer", WRITERS, ""), _lanes(engine, "log-reader", READERS, None))
    event.listen(engine, "connect", _sqlite_pragmas)
    event.listen(engine, "connect", _explicit_transactions)
    # IMMEDIATE: a transaction that reads first and then finds another writer was faster would fail at once.
    return (_lanes(engine, "log-writer", 1, "BEGIN IMMEDIATE"), _lanes(engine, "log-reader", 1, None))


def _lanes(engine: Engine, name: str, count: int, begin: str | None) -> tuple[Lane, ...]:
    return tuple(Lane(engine, f"{name}-{number}", begin=begin) for number in range(count))


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _explicit_transactions(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
