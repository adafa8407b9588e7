"""Fetches a whole hub repository, file by file, held against the digests the hub lists for that commit."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huggingface_hub import constants
from rich.console import Console
from rich.filesize import decimal

from agents.domain.errors import ModelFileError
from serving.models.catalog import Entry, Folder, Hub
from serving.models.convert import complete, seal
from serving.models.fetch import FreeBytes, free_bytes, locked, progress, require_space, sha256_of
from serving.models.sources import SourceFailed, download, http_client


@dataclass(frozen=True, slots=True)
class Listed:
    """One file of the repository. Large files carry a sha256; small ones git's own blob id (a sha1), as the hub lists them."""

    name: str
    size_bytes: int
    sha256: str | None
    blob_id: str


def fetch_snapshot(
    entry: Entry, cache: Path, console: Console, *, endpoint: str | None = None, free: FreeBytes = free_bytes
) -> Path:
    """The folder with the repository's files. Raises ModelFileError naming each source's reason."""
    failures: list[str] = []
    for source in entry.sources:
        try:
            if isinstance(source, Folder):
                return _user_folder(source, entry.name)
            if isinstance(source, Hub):
                return _from_hub(source, entry, cache, console, endpoint or constants.ENDPOINT, free)
        except SourceFailed as error:
            failures.append(f"{source.kind}: {error}")
            console.print(f"  {failures[-1]}", highlight=False, markup=False)
    raise ModelFileError(
        f"no source has {entry.name}:\n" + "\n".join(f"  {line}" for line in failures),
        hint="Run again when the hub can be reached: it goes on from there.",
    )


def _user_folder(source: Folder, name: str) -> Path:
    found = source.path / name
    if not (found / "config.json").is_file():
        raise SourceFailed(f"{found} holds no config.json")
    return found


def _from_hub(source: Hub, entry: Entry, cache: Path, console: Console, endpoint: str, free: FreeBytes) -> Path:
    target = cache / "ready" / f"{entry.name}-{source.revision[:12]}"
    if complete(target):
        return target
    with locked(cache, target.name, console), http_client() as client:
        if complete(target):
            return target
        files = _list(client, f"{endpoint}/api/models/{source.repo}/revision/{source.revision}?blobs=true")
        size_bytes = sum(file.size_bytes for file in files)
        require_space(cache, size_bytes, f"Downloading {entry.name}", free)
        pinned = "" if source.revision != "main" else "; not pinned to a commit"
        console.print(f"Downloading {entry.name} ({decimal(size_bytes)}, {entry.license}{pinned}) into {target}")
        partial = target.with_name(f".{target.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        for file in files:
            url = f"{endpoint}/{source.repo}/resolve/{source.revision}/{file.name}"
            with progress(console, file.name, file.size_bytes) as received:
                download(client, url, partial / file.name, file.size_bytes, received)
            if not _matches(partial / file.name, file):
                (partial / file.name).unlink()
                raise SourceFailed(f"{file.name} does not have the digest the hub lists; it was removed")
        seal(partial, {"repo": source.repo, "revision": source.revision})
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    return target


def _list(client: httpx.Client, url: str) -> tuple[Listed, ...]:
    try:
        answer = client.get(url)
        answer.raise_for_status()
        siblings = answer.json()["siblings"]
        files = tuple(_listed(sibling) for sibling in siblings if _wanted(sibling["rfilename"]))
    except httpx.ConnectError as error:
        raise SourceFailed(f"cannot reach {httpx.URL(url).host} ({error})") from error
    except httpx.HTTPError as error:
        raise SourceFailed(f"the hub did not list the files ({error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SourceFailed(f"the hub's list of files is not understood ({error!r})") from error
    if not files:
        raise SourceFailed("the hub lists no files")
    return files


def _wanted(name: str) -> bool:
    """What vLLM reads: top-level weights, configuration and tokenizer. A name with a slash is also how a path would escape."""
    return "/" not in name and name.endswith((".safetensors", ".json", ".txt", ".jinja", ".model"))


def _listed(sibling: dict[str, Any]) -> Listed:
    large = sibling.get("lfs")
    return Listed(sibling["rfilename"], int(sibling["size"]), large["sha256"] if large else None, sibling["blobId"])


def _matches(path: Path, file: Listed) -> bool:
    if file.sha256 is not None:
        return sha256_of(path) == file.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == file.blob_id
