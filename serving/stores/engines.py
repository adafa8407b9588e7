"""How the store reaches its database: one pooled engine for the event loop, and lanes (threads) for the sessions' logs."""

from typing import Any

from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from serving.stores.lanes import Lane
from serving.stores.watchdog import CONNECT_TIMEOUT_S

WRITERS = 4  # of PostgreSQL; SQLite has one writer at all
READERS = 2
CHECKOUT_TIMEOUT_S = 5.0  # for a connection of the pool
DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}  # those that block, for threads


def pooled(url: str) -> AsyncEngine:
    """For the ledger, the audit and what is rare."""
    given = {} if url.startswith("sqlite") else {"pool_timeout": CHECKOUT_TIMEOUT_S}
    engine = create_async_engine(url, connect_args=_connecting(url), **given)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _sqlite_pragmas)
    return engine


def lanes(url: str, hangs_after_s: float) -> tuple[tuple[Lane, ...], tuple[Lane, ...]]:
    """(writing, reading) lanes to the same database. Nothing is connected yet."""
    place = make_url(url)
    backend = place.get_backend_name()
    driver = place.set(drivername=DRIVERS.get(backend, backend))
    engine = create_engine(driver, poolclass=NullPool, connect_args=_connecting(url))

    def made(name: str, count: int, begin: str | None) -> tuple[Lane, ...]:
        return tuple(Lane(engine, f"{name}-{number}", begin=begin, hangs_after_s=hangs_after_s) for number in range(count))

    if backend != "sqlite":
        return (made("log-writer", WRITERS, ""), made("log-reader", READERS, None))
    event.listen(engine, "connect", _sqlite_pragmas)
    event.listen(engine, "connect", _explicit_transactions)
    # IMMEDIATE: a transaction that reads first and then finds another writer was faster would fail at once.
    return (made("log-writer", 1, "BEGIN IMMEDIATE"), made("log-reader", 1, None))


def _connecting(url: str) -> dict[str, int]:
    return {} if url.startswith("sqlite") else {"connect_timeout": CONNECT_TIMEOUT_S}


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _explicit_transactions(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
