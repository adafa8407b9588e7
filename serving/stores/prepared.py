"""Statements compiled once for a database and handed to its driver as text: what runs ten times a turn pays no toll each time.

For statements whose values the driver takes as they are (text and numbers): SQLAlchemy's conversions are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, Update


class Prepared:
    def __init__(self, statement: Insert | Update | Delete, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self._sql: str = str(compiled)
        order = getattr(compiled, "positiontup", None)
        self._order: tuple[str, ...] | None = tuple(order) if order is not None else None

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """How many rows it touched."""
        return connection.exec_driver_sql(self._sql, self._given(values)).rowcount

    def run_many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Once for each of `rows`, in one call of the driver. No rows: nothing."""
        if len(rows) == 1:
            self.run(connection, rows[0])
        elif rows:
            connection.exec_driver_sql(self._sql, [self._given(row) for row in rows])

    def _given(self, values: Mapping[str, Any]) -> Any:
        """By place or by name, as the driver wants it."""
        return dict(values) if self._order is None else tuple([values[name] for name in self._order])
