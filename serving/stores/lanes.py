"""Database work in threads of its own: one hop a piece of work, and what waits together shares one transaction.

A piece of work is a plain function of a connection. In a writing lane everything that queued up while the last transaction was
under way goes into the next one (group commit): where a database has one writer, many sessions then pay for one commit. If
that transaction fails, each piece is done again in one of its own, so that none suffers for another. Three rules make it sound:
a piece raises a KeepwordError only before its first write, nobody is told of a result before it is committed, and pieces are
done in the order of the sessions they lock, so that two transactions never wait for each other.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from agents.domain.errors import KeepwordError, TurnInProgress
from serving.stores.errors import StoreUnavailable
from serving.stores.watchdog import HANGS_AFTER_S, cut

R = TypeVar("R")
Work = Callable[[Connection], R]
MOST_TOGETHER = 64  # pieces in one transaction: what the last of them waits for
CLOSE_S = 30.0


@dataclass(frozen=True, slots=True)
class _Piece:
    work: Work[Any]
    locks: str
    waiting: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Lane:
    """One thread with one connection. `begin` opens a transaction around what waits together ("" leaves it to the driver);
    None: reads, each statement by itself. What takes longer than `hangs_after_s` is cut (PostgreSQL; SQLite has its own
    limit)."""

    def __init__(self, engine: Engine, name: str, *, begin: str | None, hangs_after_s: float = HANGS_AFTER_S) -> None:
        self._engine = engine if begin is not None else engine.execution_options(isolation_level="AUTOCOMMIT")
        self.dialect, self._name, self._begin = engine.dialect, name, begin
        self._hangs_after_s = hangs_after_s
        self._pieces: SimpleQueue[_Piece | None] = SimpleQueue()
        self._waiting: Counter[asyncio.AbstractEventLoop] = Counter()
        self._watches: dict[asyncio.AbstractEventLoop, asyncio.TimerHandle] = {}
        self._connection: Connection | None = None
        self._thread: threading.Thread | None = None
        self._stage: Literal["begin", "work", "commit"] = "begin"
        self._since: float | None = None

    async def run(self, work: Work[R], *, locks: str = "") -> R:
        """What `work` returns, once it is durable. `locks`: the one session whose rows it writes, if any.

        A cancelled caller does not stop it: what has been queued is done. Raises its KeepwordErrors, TurnInProgress for a
        broken constraint, StoreUnavailable."""
        loop = asyncio.get_running_loop()
        piece = _Piece(work, locks, loop.create_future(), loop)
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._pieces.put(piece)
        self._waiting[loop] += 1
        if loop not in self._watches:
            self._watches[loop] = loop.call_later(self._hangs_after_s, self._look, loop)
        try:
            result: R = await piece.waiting
            return result
        finally:
            self._waiting[loop] -= 1

    async def close(self) -> None:
        """Finish what is queued and end."""
        if self._thread is not None:
            self._pieces.put(None)
            await asyncio.to_thread(self._thread.join, CLOSE_S)
            self._thread = None
        for watch in self._watches.values():
            watch.cancel()
        self._watches.clear()

    def _serve(self) -> None:
        ending = False
        while not ending:
            waiting = [self._pieces.get()]
            try:
                while len(waiting) < MOST_TOGETHER and waiting[-1] is not None:
                    waiting.append(self._pieces.get_nowait())
            except Empty:
                pass
            ending = waiting[-1] is None
            pieces = sorted((piece for piece in waiting if piece is not None), key=_locks)
            if pieces:
                _tell(pieces, self._done(pieces))
        self._let_go()

    def _done(self, pieces: Sequence[_Piece]) -> list[Any]:
        """Each piece's result, or the exception it ended with."""
        try:
            return self._transaction(pieces)
        except Exception as error:
            if self._stage != "work":  # nothing was begun, or nobody knows what was committed
                return [_ours(error) for _ in pieces]
            if len(pieces) > 1:  # one of them, or the connection: each by itself tells
                return [self._alone(piece) for piece in pieces]
            gone = isinstance(error, DBAPIError) and error.connection_invalidated
            return [self._alone(pieces[0]) if gone else _ours(error)]

    def _alone(self, piece: _Piece) -> Any:
        try:
            return self._transaction([piece])[0]
        except Exception as error:
            return _ours(error)

    def _transaction(self, pieces: Sequence[_Piece]) -> list[Any]:
        self._stage, self._since = "begin", time.monotonic()
        try:
            connection = self._connection = self._connection or self._engine.connect()
            if self._begin is None:
                self._stage = "work"
                return [_result(piece, connection) for piece in pieces]
            with connection.begin():
                if self._begin:
                    connection.exec_driver_sql(self._begin)
                self._stage = "work"
                results = [_result(piece, connection) for piece in pieces]
                self._stage = "commit"
            return results
        except BaseException:
            self._let_go()
            raise
        finally:
            self._since = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """While anybody waits in `loop`: cut a transaction that hangs."""
        if not self._waiting[loop]:
            del self._watches[loop], self._waiting[loop]
            return
        left_s = self._hangs_after_s - self._busy_s()
        if left_s <= 0:
            self._cut()
        again_s = left_s if left_s > 0 else self._hangs_after_s
        self._watches[loop] = loop.call_later(again_s, self._look, loop)

    def _busy_s(self) -> float:
        """How long the transaction under way has taken; 0 between two."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def _cut(self) -> None:
        """The statement under way fails, as with a server that went away."""
        connection = self._connection
        if connection is not None and not connection.closed:
            cut(connection.connection.driver_connection)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _locks(piece: _Piece) -> str:
    return piece.locks


def _result(piece: _Piece, connection: Connection) -> Any:
    try:
        return piece.work(connection)
    except KeepwordError as refusal:
        return refusal


def _ours(error: Exception) -> Exception:
    """A foreign error as one of ours."""
    if isinstance(error, IntegrityError):
        told: Exception = TurnInProgress("another message of this session was first")
    elif isinstance(error, SQLAlchemyError | OSError):
        told = StoreUnavailable(f"the database does not answer: {type(error).__name__}")
    else:
        return error
    told.__cause__ = error
    return told


def _tell(pieces: Sequence[_Piece], results: Sequence[Any]) -> None:
    """Hand every result over in its own event loop, with one wake-up a loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for piece, result in zip(pieces, results, strict=True):
        by_loop.setdefault(piece.loop, []).append((piece.waiting, result))
    for loop, told in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, told)
        except RuntimeError:  # the loop has ended: nobody waits any more
            continue


def _settle(told: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for waiting, result in told:
        if waiting.cancelled():
            continue
        if isinstance(result, BaseException):
            waiting.set_exception(result)
        else:
            waiting.set_result(result)
