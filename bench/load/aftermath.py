"""What a load left in the desk's own log: whether every turn that began has ended, read from the database after the load."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import create_engine, select

from serving.clock import SystemClock
from serving.http.tokens import kept_secret
from serving.settings import Settings
from serving.stores import tables
from serving.stores.signing import Signer
from serving.stores.sql import SqlStore

ENDS = frozenset({"turn.done", "error"})


class Head(msgspec.Struct, gc=False):
    """The two fields of an event that matter here."""

    type: str
    turn_id: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """`begun` and `ended` turns by session; `unended` are turn ids with a beginning and no end."""

    begun: Mapping[str, int]
    ended: Mapping[str, int]
    unended: tuple[str, ...]
    events: int

    def missing(self, accepted: Mapping[str, int]) -> int:
        """Turns that customers were told are accepted and whose session's log has no end for them."""
        return sum(max(0, turns - self.ended.get(session_id, 0)) for session_id, turns in accepted.items())


def read_log(settings: Settings) -> Log:
    """Every event of the database, heads only."""
    engine = create_engine(settings.store_url.replace("+aiosqlite", ""))
    decoder = msgspec.json.Decoder(Head)
    begun: dict[str, int] = {}
    ended: dict[str, int] = {}
    open_turns: set[str] = set()
    count = 0
    query = select(tables.events.c.session_id, tables.events.c.body).order_by(tables.events.c.session_id, tables.events.c.seq)
    try:
        with engine.connect() as connection:
            for session_id, body in connection.execution_options(yield_per=5000).execute(query):
                head, count = decoder.decode(body), count + 1
                if head.type == "turn.started":
                    begun[session_id] = begun.get(session_id, 0) + 1
                    open_turns.add(head.turn_id)
                elif head.type in ENDS and head.turn_id in open_turns:
                    ended[session_id] = ended.get(session_id, 0) + 1
                    open_turns.discard(head.turn_id)
    finally:
        engine.dispose()
    return Log(begun, ended, tuple(sorted(open_turns)), count)


async def audited(settings: Settings, sessions: int, *, seed: int = 0) -> tuple[int, int]:
    """`audit verify` over a sample of sessions: how many were looked at, and how many damages were found."""
    signer = Signer(settings.secret or kept_secret(settings.data_dir / "secret"))
    store = await SqlStore.open(settings.store_url, SystemClock(), signer)
    try:
        ids = await store.session_ids()
        sample = random.Random(seed).sample(ids, min(sessions, len(ids)))
        found = [damage for each in sample for damage in await store.audit(each, signer.verifier)]
    finally:
        await store.close()
    return len(sample), len(found)


def database_bytes(data_dir: Path) -> int:
    """What the embedded database takes on disk; 0 for another."""
    return sum(path.stat().st_size for path in data_dir.glob("keepword.db*"))


async def settled_log(settings: Settings, *, attempts: int = 20, every_s: float = 1.0) -> Log:
    """The log once no turn is under way, or after `attempts` looks: a turn whose customer left still ends by itself."""
    for _ in range(attempts - 1):
        log = await asyncio.to_thread(read_log, settings)
        if not log.unended:
            return log
        await asyncio.sleep(every_s)
    return await asyncio.to_thread(read_log, settings)
