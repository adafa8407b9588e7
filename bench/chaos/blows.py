"""What is done to a running stack: its processes found by their names below the one we started, and ended by pid."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.postgres import PostgresServer
from bench.stack import Stack

AWAY_S = 10.0  # how long the database is gone
DESK, ENGINE, CONTROLLER = "ray::ServeReplica:keepword:desk", "ray::ServeReplica:engine:engine", "ray::ServeController"
PROXY = {"ray": "ray::ProxyActor", "haproxy": "haproxy"}  # by ingress
BACK_WITHIN_S = 180.0
LOOK_EVERY_S = 0.2


def processes(stack: Stack, title: str) -> list[psutil.Process]:
    """The stack's processes whose title begins so, or whose program is called so."""
    found = []
    for process in psutil.Process(stack.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            words = process.cmdline()
            if " ".join(words).startswith(title) or (words and Path(words[0]).name == title):
                found.append(process)
    return found


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL to one process called `title`; it must be replaced."""

    name: str
    title: str

    def strike(self, stack: Stack, _database: PostgresServer) -> None:
        before = {process.pid for process in processes(stack, self.title)}
        if not before:
            raise RuntimeError(f"the stack has no process {self.title}")
        os.kill(max(before), signal.SIGKILL)
        deadline = time.monotonic() + BACK_WITHIN_S
        while time.monotonic() < deadline:
            now = {process.pid for process in processes(stack, self.title)}
            if len(now) >= len(before) and now != before:
                return
            time.sleep(LOOK_EVERY_S)
        raise RuntimeError(f"{self.title} was not replaced within {BACK_WITHIN_S:.0f} s")


@dataclass(frozen=True, slots=True)
class DatabaseCrash:
    """The server breaks every connection and is gone for `away_s`."""

    name: str = "database stopped"
    away_s: float = AWAY_S

    def strike(self, _stack: Stack, database: PostgresServer) -> None:
        database.stop(at_once=True)
        time.sleep(self.away_s)
        database.start()


@dataclass(frozen=True, slots=True)
class DatabaseHang:
    """The server keeps every connection and answers nothing for `AWAY_S`."""

    name: str = "database hung"

    def strike(self, _stack: Stack, database: PostgresServer) -> None:
        database.freeze()
        time.sleep(AWAY_S)
        database.thaw()


@dataclass(frozen=True, slots=True)
class RollingRestart:
    """SIGHUP: every replica is replaced."""

    name: str = "rolling restart"

    def strike(self, stack: Stack, _database: PostgresServer) -> None:
        before = {process.pid for title in (DESK, ENGINE) for process in processes(stack, title)}
        os.kill(stack.pid, signal.SIGHUP)
        deadline = time.monotonic() + BACK_WITHIN_S
        while time.monotonic() < deadline:
            now = {process.pid for title in (DESK, ENGINE) for process in processes(stack, title)}
            if not now & before and len(now) >= len(before):
                return
            time.sleep(LOOK_EVERY_S)
        raise RuntimeError(f"not every replica was replaced within {BACK_WITHIN_S:.0f} s")


Blow = Kill | DatabaseCrash | DatabaseHang | RollingRestart
QUICK: Sequence[Blow] = (Kill("desk killed", DESK), DatabaseCrash(away_s=3.0))


def every(ingress: str) -> Sequence[Blow]:
    """All of them, the proxy being the one of this ingress."""
    return (
        Kill("engine killed", ENGINE),
        Kill("desk killed", DESK),
        Kill("proxy killed", PROXY[ingress]),
        Kill("controller killed", CONTROLLER),
        DatabaseCrash(),
        DatabaseHang(),
        RollingRestart(),
    )
