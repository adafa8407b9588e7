"""Counts the store's transactions and statements, whichever engine runs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event


@dataclass
class Statements:
    transactions: int = 0
    statements: int = 0
    rows_written: int = 0


@contextmanager
def counting_statements() -> Iterator[Statements]:
    """Every SQLAlchemy engine of this process. A statement given many rows counts once."""
    seen = Statements()

    def ended(_connection: Any) -> None:
        seen.transactions += 1

    def executed(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        seen.statements += 1
        if statement.startswith("INSERT"):
            seen.rows_written += len(parameters) if many else 1

    listening = (("commit", ended), ("rollback", ended), ("before_cursor_execute", executed))
    for name, listener in listening:
        event.listen(Engine, name, listener)
    try:
        yield seen
    finally:
        for name, listener in listening:
            event.remove(Engine, name, listener)
