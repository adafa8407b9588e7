"""`keepword eval audit`: is every change to the stored log found, at its place, and does every session replay bit for bit?"""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agents.packs.loader import load_pack, tools_module
from agents.tools.registry import collect
from bench.conversations import LabelRetriever, moody, orders_of, visit
from bench.result import BenchResult, bar
from serving.embedded import EmbeddedDesk
from serving.http.tokens import kept_secret
from serving.replay import differences
from serving.scripted import ScriptedModel
from serving.stores.audit import Damage, examine
from serving.stores.codec import canonical, chained
from serving.stores.personal import salted
from serving.stores.signing import Signer, Verifier

Rows = dict[str, list[dict[str, Any]]]
Tamper = Callable[[sqlite3.Connection, random.Random, str, int], int]


async def run(*, seed: int = 0, quick: bool = False, progress: Callable[[int, int], None] | None = None) -> BenchResult:
    """200 sessions and 1,000 changes; quick: 12 and 120."""
    sessions, changes = (12, 120) if quick else (200, 1000)
    rng, tell = random.Random(seed), progress or (lambda done, total: None)
    with TemporaryDirectory(prefix="keepword-audit-") as name:
        folder = Path(name)
        turns, differing = await _record(folder, rng, sessions, lambda done: tell(done, sessions + changes))
        verifier = Signer(kept_secret(folder / "secret")).verifier
        told = await asyncio.to_thread(
            _tamper_all, folder / "keepword.db", verifier, rng, changes, lambda done: tell(sessions + done, sessions + changes)
        )
    return BenchResult(
        "eval audit",
        {
            "undetected": bar(sum(not found for _, _, found in told), 0),
            "detected_elsewhere": bar(sum(bool(found) and place not in found for _, place, found in told), 0),
            "false_alarms": bar(told_of_whole(told), 0),
            "replay_differences": bar(differing, 0),
            "sessions_replayed": bar(sessions, sessions, ">="),
        },
        {
            "changes": dict(Counter(kind for kind, _, _ in told if kind != WHOLE)),
            "turns_replayed": turns,
            "missed": [{"kind": kind, "place": place, "found": sorted(at)} for kind, place, at in told if place not in at][:5],
        },
    )


WHOLE = "untouched"
Told = list[tuple[str, int, set[int]]]  # kind of change, its place, the places reported


def told_of_whole(told: Told) -> int:
    return sum(bool(found) for kind, _, found in told if kind == WHOLE)


async def _record(folder: Path, rng: random.Random, sessions: int, tell: Callable[[int], None]) -> tuple[int, int]:
    """Hold the conversations and replay each; turns replayed, and differences."""
    pack = load_pack("shop")
    specs = [bound.spec for bound in collect(tools_module(pack.path))]
    turns = differing = 0
    async with EmbeddedDesk.open(
        pack, model=ScriptedModel(moody(rng, pack)), data_dir=folder, retriever=LabelRetriever(pack)
    ) as desk:
        orders = orders_of(folder / "pack-shop" / "shop.db")
        for number in range(sessions):
            customer, locale, messages = visit(rng, pack, orders)
            session_id = await desk.start_session(customer, locale=locale)
            for message in messages:
                await desk.say(session_id, message)
            async for _, found in differences(pack, specs, session_id, await desk.events(session_id)):
                turns, differing = turns + 1, differing + len(found)
            tell(number + 1)
    return turns, differing


def _tamper_all(path: Path, verifier: Verifier, rng: random.Random, changes: int, tell: Callable[[int], None]) -> Told:
    """Every change alone, on the whole log, undone before the next."""
    told: Told = []
    with sqlite3.connect(path, isolation_level=None) as database:
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA foreign_keys = OFF")
        ids = [row[0] for row in database.execute("SELECT id FROM sessions ORDER BY id")]
        told += [(WHOLE, 0, _places(database, each, verifier)) for each in ids]
        kinds = list(KINDS)
        for number in range(changes):
            kind, session_id = kinds[number % len(kinds)], rng.choice(ids)
            last = database.execute("SELECT max(seq) FROM events WHERE session_id = ?", (session_id,)).fetchone()[0]
            database.execute("BEGIN")
            place = KINDS[kind](database, rng, session_id, last)
            told.append((kind, place, _places(database, session_id, verifier)))
            database.execute("ROLLBACK")
            tell(number + 1)
    return [each for each in told if each[0] != WHOLE] + [each for each in told if each[0] == WHOLE and each[2]]


def _places(database: sqlite3.Connection, session_id: str, verifier: Verifier) -> set[int]:
    rows: Rows = {
        table: [dict(row) for row in database.execute(f"SELECT * FROM {table} WHERE session_id = ?", (session_id,))]
        for table in ("events", "personal", "heads")
    }
    head = rows["heads"][0] if rows["heads"] else None
    found: list[Damage] = examine(session_id, rows["events"], {row["seq"]: row for row in rows["personal"]}, head, verifier)
    return {each.seq for each in found}


def _flip(table: str, column: str) -> Tamper:
    """One character of one field becomes another."""

    def tamper(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
        query = f"SELECT seq, {column} FROM {table} WHERE session_id = ? AND length({column}) > 0"
        seq, value = rng.choice(database.execute(query, (session_id,)).fetchall())
        at = rng.randrange(len(value))
        changed = value[:at] + rng.choice([c for c in "0123456789abcdefXYZ{}" if c != value[at]]) + value[at + 1 :]
        where = "session_id = ?" if table == "heads" else f"session_id = ? AND seq = {seq}"
        database.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (changed, session_id))
        return 0 if table == "heads" else int(seq)

    return tamper


def _drop_event(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    seq = rng.randrange(1, last)
    database.execute("DELETE FROM events WHERE session_id = ? AND seq = ?", (session_id, seq))
    return seq


def _drop_personal(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    seqs = [row[0] for row in database.execute("SELECT seq FROM personal WHERE session_id = ?", (session_id,))]
    seq = int(rng.choice(seqs))
    database.execute("DELETE FROM personal WHERE session_id = ? AND seq = ?", (session_id, seq))
    return seq


def _swap(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    one, other = sorted(rng.sample(range(1, last + 1), 2))
    for before, after in ((one, 0), (other, one), (0, other)):
        database.execute("UPDATE events SET seq = ? WHERE session_id = ? AND seq = ?", (after, session_id, before))
    return one


def _transplant(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    """An event of another session, whole and signed, in this one's place."""
    seq = rng.randint(1, last)
    query = "SELECT body, hash, signature, personal_digest, at FROM events WHERE session_id <> ? ORDER BY random() LIMIT 1"
    foreign = database.execute(query, (session_id,)).fetchone()
    statement = (
        "UPDATE events SET body = ?, hash = ?, signature = ?, personal_digest = ?, at = ? WHERE session_id = ? AND seq = ?"
    )
    database.execute(statement, (*foreign, session_id, seq))
    return seq


def _forge(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    """Another event, and the whole chain after it computed anew: all an attacker without the key can do."""
    seq = rng.randint(1, last)
    rows = database.execute("SELECT * FROM events WHERE session_id = ? ORDER BY seq", (session_id,)).fetchall()
    before = rows[seq - 2]["hash"] if seq > 1 else "0" * 64
    for row in rows[seq - 1 :]:
        body = canonical({"type": "turn.started", "turn_id": "forged"}) if row["seq"] == seq else row["body"]
        before = chained(before, row["seq"], row["at"], body, row["personal_digest"])
        statement = "UPDATE events SET body = ?, hash = ? WHERE session_id = ? AND seq = ?"
        database.execute(statement, (body, before, session_id, row["seq"]))
    database.execute("UPDATE heads SET hash = ? WHERE session_id = ?", (before, session_id))
    return seq


def _forge_unsigned(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    """The same, and the signatures that no longer hold taken away."""
    seq = _forge(database, rng, session_id, last)
    database.execute("UPDATE events SET signature = NULL WHERE session_id = ? AND seq >= ?", (session_id, seq))
    return seq


def _forge_personal(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    """Other personal data with a salt and digest that fit, written into the event too."""
    query = "SELECT e.* FROM events e JOIN personal p USING (session_id, seq) WHERE session_id = ?"
    row = rng.choice(database.execute(query, (session_id,)).fetchall())
    body = canonical({"text": "I agree to everything"})
    salt, digest = salted(body)
    database.execute(
        "UPDATE personal SET salt = ?, body = ? WHERE session_id = ? AND seq = ?", (salt, body, session_id, row["seq"])
    )
    database.execute("UPDATE events SET personal_digest = ? WHERE session_id = ? AND seq = ?", (digest, session_id, row["seq"]))
    return int(row["seq"])


def _append(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    """An event of the attacker's own behind the last one."""
    row = database.execute("SELECT * FROM events WHERE session_id = ? AND seq = ?", (session_id, last)).fetchone()
    after = chained(row["hash"], last + 1, row["at"], row["body"], None)
    values = (session_id, last + 1, row["at"], row["body"], after, None, row["signature"])
    columns = "session_id, seq, at, body, hash, personal_digest, signature"
    database.execute(f"INSERT INTO events ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    return last + 1


def _cut(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    keep = rng.randrange(0, last)
    for table in ("events", "personal"):
        database.execute(f"DELETE FROM {table} WHERE session_id = ? AND seq > ?", (session_id, keep))
    return keep + 1


def _cut_and_move_head(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    keep = _cut(database, rng, session_id, last) - 1
    found = database.execute("SELECT hash FROM events WHERE session_id = ? AND seq = ?", (session_id, keep)).fetchone()
    statement = "UPDATE heads SET seq = ?, hash = ? WHERE session_id = ?"
    database.execute(statement, (keep, found[0] if found else "0" * 64, session_id))
    return 0


def _drop_head(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    database.execute("DELETE FROM heads WHERE session_id = ?", (session_id,))
    return 0


def _false_erasure(database: sqlite3.Connection, rng: random.Random, session_id: str, last: int) -> int:
    """Personal data gone, and an unsigned event that says it was erased on request."""
    place = _append(database, rng, session_id, last)
    database.execute("UPDATE events SET body = ? WHERE session_id = ? AND seq = ?", ('{"type":"erased"}', session_id, place))
    database.execute("DELETE FROM personal WHERE session_id = ?", (session_id,))
    return place


KINDS: Mapping[str, Tamper] = {
    **{f"{column} of an event flipped": _flip("events", column) for column in ("body", "hash", "at", "signature")},
    "digest of an event flipped": _flip("events", "personal_digest"),
    "personal data flipped": _flip("personal", "body"),
    "salt flipped": _flip("personal", "salt"),
    "head flipped": _flip("heads", "hash"),
    "signature of a head flipped": _flip("heads", "signature"),
    "event dropped": _drop_event,
    "personal data dropped": _drop_personal,
    "events swapped": _swap,
    "event of another session": _transplant,
    "event forged, chain computed anew": _forge,
    "event forged, later signatures removed": _forge_unsigned,
    "personal data forged": _forge_personal,
    "event appended": _append,
    "tail cut": _cut,
    "tail cut, head moved": _cut_and_move_head,
    "head dropped": _drop_head,
    "erasure pretended": _false_erasure,
}
