"""A real PostgreSQL server of our own for tests and evaluations: fresh folder, loopback only, gone at the end."""

import getpass
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.stack import free_port

START_TIMEOUT_S = 30.0


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """The URL of an empty database `postgres`. Root hands the server to the user `postgres`, as PostgreSQL insists."""
    binaries, data, user = _binaries(), folder / "pg", _server_user()
    data.mkdir(parents=True)
    if os.geteuid() == 0:
        shutil.chown(data, user)
        for parent in data.parents:
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)  # pytest keeps its folders to root
    initdb: list[str | Path] = [binaries / "initdb", "--pgdata", data, "--auth", "trust", "--username", "postgres", "--no-sync"]
    subprocess.run(initdb, user=user, check=True, stdout=subprocess.DEVNULL, cwd="/")
    port = free_port()
    options = ["-c", "fsync=off", "-c", "max_connections=200", "-c", "log_min_messages=fatal"]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", data, *options],
        user=user,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(binaries / "pg_isready", port, server)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(START_TIMEOUT_S)


def _binaries() -> Path:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))


def _server_user() -> str:
    return pwd.getpwnam("postgres").pw_name if os.geteuid() == 0 else getpass.getuser()


def _wait(pg_isready: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while subprocess.run([pg_isready, "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("our PostgreSQL did not start")
        time.sleep(0.05)
