"""The demo marketplace's database: opened once, read freely, written once per idempotency key."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from agents.domain.errors import ToolFailed, ToolRefused
from agents.packs.shop.calendar_days import stamp
from agents.packs.shop.facts import Receipt
from agents.packs.shop.seeding import create_database
from agents.ports import ToolCall

FILE = "shop.db"
BUSY_TIMEOUT_MS = 3000  # another replica holds the write lock; less than a tool's own time limit


R = TypeVar("R", bound=Receipt)


class Shop:
    """One connection for reads, one for writes. Writes of this process take turns; other processes wait at SQLite's lock."""

    def __init__(self, reader: aiosqlite.Connection, writer: aiosqlite.Connection) -> None:
        self.reader = reader
        self.writer = writer
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[aiosqlite.Connection]:
        """One transaction: everything in it happens, or nothing. Raises ToolFailed when the lock cannot be had."""
        async with self._turn:
            try:
                try:
                    await self.writer.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError as error:
                    raise ToolFailed("the shop's database is busy") from error
                yield self.writer
                await self.writer.commit()
            except BaseException:  # a cancelled call too: the next one must not find an open transaction
                await self.writer.rollback()
                raise

    async def once(
        self,
        call: ToolCall,
        tool: str,
        args: Mapping[str, Any],
        kind: type[R],
        effect: Callable[[aiosqlite.Connection], Awaitable[R]],
    ) -> R:
        """Run `effect` unless `call.key` was used before: then its first receipt. Raises ToolRefused for a missing key or
        one that stands for another call."""
        if not call.key:
            raise ToolRefused(f"{tool} needs an idempotency key")
        wanted = json.dumps([tool, call.customer_id, dict(args)], sort_keys=True, ensure_ascii=False)
        async with self.writing() as db:
            rows = await db.execute_fetchall("SELECT call, receipt FROM receipts WHERE key = ?", (call.key,))
            for before, receipt in rows:
                if before != wanted:
                    raise ToolRefused("this idempotency key stands for another call")
                return kind(**json.loads(receipt))
            done = await effect(db)
            spelled = json.dumps(asdict(done), ensure_ascii=False)
            await db.execute("INSERT INTO receipts VALUES (?, ?, ?, ?)", (call.key, wanted, spelled, stamp(call.now)))
        return done

    async def receipt(self, key: str) -> Mapping[str, Any] | None:
        """What was done under `key`; None when nothing was."""
        rows = await self.reader.execute_fetchall("SELECT receipt FROM receipts WHERE key = ?", (key,))
        for row in rows:
            found: Mapping[str, Any] = json.loads(row[0])
            return found
        return None

    async def close(self) -> None:
        await self.reader.close()
        await self.writer.close()


async def open_shop(data_dir: Path, *, now: datetime | None = None) -> Shop:
    """The shop in `data_dir`/shop.db, made from schema and seeds when missing; the seeds' day offsets then count from `now`."""
    path = data_dir / FILE
    if not path.exists():
        await asyncio.to_thread(create_database, path, now or datetime.now(UTC))
    reader = await _connect(path)
    try:
        writer = await _connect(path)
    except BaseException:
        await reader.close()
        raise
    return Shop(reader, writer)


async def _connect(path: Path) -> aiosqlite.Connection:
    db = await aiosqlite.connect(path, isolation_level=None)
    db.row_factory = aiosqlite.Row
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", f"busy_timeout = {BUSY_TIMEOUT_MS}"):
        await db.execute(f"PRAGMA {pragma}")
    return db
