"""A real PostgreSQL server of our own for tests and evaluations: fresh folder, loopback only, gone at the end."""

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.processes import free_port

START_TIMEOUT_S = 30.0


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """The URL of an empty database `postgres`."""
    with postgres_server(folder) as server:
        yield server.url


@contextmanager
def postgres_server(folder: Path) -> Iterator["PostgresServer"]:
    """A server that can be made to fail."""
    server = PostgresServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.thaw()
        server.stop()


class PostgresServer:
    """One server over one folder. Root hands it to the user `postgres`, as PostgreSQL insists."""

    def __init__(self, folder: Path) -> None:
        self._binaries, self._data, self._user = _binaries(), folder / "pg", _server_user()
        self._data.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(self._data, self._user)
            for parent in self._data.parents:
                if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o011)  # pytest keeps its folders to root
        initdb: list[str | Path] = [self._binaries / "initdb", "--pgdata", self._data]
        initdb += ["--auth", "trust", "--username", "postgres", "--no-sync"]
        subprocess.run(initdb, user=self._user, check=True, stdout=subprocess.DEVNULL, cwd="/")
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[psutil.Process] = []
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start it (again), and wait until it answers."""
        address = ["-h", "127.0.0.1", "-p", str(self._port)]
        options = ["-c", "fsync=off", "-c", "max_connections=200", "-c", "log_min_messages=fatal"]
        self._process = subprocess.Popen(
            [
                self._binaries / "postgres",
                "-D",
                self._data,
                "-h",
                "127.0.0.1",
                "-p",
                str(self._port),
                "-k",
                self._data,
                *options,
            ],
            user=self._user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while subprocess.run([self._binaries / "pg_isready", "-q", *address], check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("our PostgreSQL did not start")
            time.sleep(0.05)

    def stop(self, *, at_once: bool = False) -> None:
        """Stop it; `at_once` as a crash would: connections break, and what was committed is recovered at the next start."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(START_TIMEOUT_S)

    def freeze(self) -> None:
        """Stop every process of it where it stands: connections stay open and nothing is answered."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        self._frozen = [server, *server.children(recursive=True)]
        for process in self._frozen:
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        for process in self._frozen:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self._frozen = []


def _binaries() -> Path:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))


def _server_user() -> str:
    return pwd.getpwnam("postgres").pw_name if os.geteuid() == 0 else getpass.getuser()
