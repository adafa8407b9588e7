"""Cuts a database connection that hangs. A server that accepts bytes and answers nothing (stopped, or its machine is) would
keep a statement waiting for minutes: cancelling asks that same server, and only closing the socket helps."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

CONNECT_TIMEOUT_S = 3
HANGS_AFTER_S = 5.0


@asynccontextmanager
async def watched(connection: AsyncConnection, hangs_after_s: float) -> AsyncGenerator[None, None]:
    """Run a transaction's statements; after `hangs_after_s` the socket is shut, and the statement under way fails as with a
    server that went away. A driver without a socket (SQLite's) is left alone."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    cutting = asyncio.get_running_loop().call_later(hangs_after_s, cut, driver)
    try:
        yield
    finally:
        cutting.cancel()


def cut(driver: Any) -> None:
    """Shut the socket of a driver's connection, from any thread. One without a socket, or closed already, is left alone."""
    pgconn = getattr(driver, "pgconn", None)
    if pgconn is None:
        return
    with suppress(Exception), socket.socket(fileno=os.dup(pgconn.socket)) as own:
        own.shutdown(socket.SHUT_RDWR)
