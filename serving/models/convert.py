"""Keeps converted model folders: built once per source digest and recipe, complete or absent, never half."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from agents.domain.errors import ModelFileError
from serving.models.catalog import Entry
from serving.models.fetch import FreeBytes, free_bytes, locked, require_space, sha256_of

RECIPE_VERSION: Final = 2
"""Part of the folder's name: raise it whenever `quantize` would write different files."""
MANIFEST: Final = "manifest.json"
CONVERT_TIMEOUT_S: Final = 1800.0
_GROWTH: Final = 4
"""A converted folder (at most bfloat16 throughout) is at most this many times its 4-bit source."""

Quantize = Callable[[Path, Path, str], None]


def folder_name(entry: Entry) -> str:
    """Where the converted model lives below `ready/`."""
    assert entry.file is not None, "a snapshot is not converted"
    return f"{entry.name}-{entry.file.sha256[:12]}-{entry.recipe}-v{RECIPE_VERSION}"


def quantize_in_subprocess(source: Path, target: Path, recipe: str) -> None:
    """Run `serving.models.quantize` in a process of its own. Raises ModelFileError with its last words."""
    command = [sys.executable, "-W", "ignore", "-m", "serving.models.quantize", str(source), str(target), recipe]
    # The conversion needs nothing from the network: offline, a missing file is an error and not a silent download.
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=CONVERT_TIMEOUT_S, env=environment)
    except subprocess.CalledProcessError as error:
        killed = "it was killed, probably for lack of memory" if error.returncode < 0 else error.stderr.strip()[-400:]
        raise ModelFileError(
            f"converting {source.name} failed: {killed}", hint="Free some memory and run this again."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(f"converting {source.name} took more than {CONVERT_TIMEOUT_S:.0f} s") from error


def convert(
    entry: Entry,
    source: Path,
    cache: Path,
    console: Console,
    *,
    quantize: Quantize = quantize_in_subprocess,
    free: FreeBytes = free_bytes,
) -> Path:
    """The folder made from `source`, built when it is not there yet. Raises ModelFileError."""
    target = cache / "ready" / folder_name(entry)
    if complete(target):
        return target
    with locked(cache, target.name, console):
        if complete(target):
            return target
        require_space(cache, _GROWTH * source.stat().st_size, f"Converting {entry.name}", free)
        partial = target.with_name(f".{target.name}.partial")
        for leftover in (partial, target):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        with console.status(f"Converting {entry.name} ({entry.recipe}); about a minute, once"):
            quantize(source, partial, entry.recipe)
            seal(partial, {"source_sha256": sha256_of(source), "recipe": entry.recipe, "recipe_version": RECIPE_VERSION})
        partial.rename(target)
        console.print(f"Converted {entry.name} into {target}")
    return target


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Write the manifest, last: a folder without one is not trusted."""
    listed = {
        path.name: {"size_bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST
    }
    with (folder / MANIFEST).open("w", encoding="utf-8") as writer:
        json.dump(about | {"files": listed}, writer, indent=2)
        writer.flush()
        os.fsync(writer.fileno())


def complete(folder: Path) -> bool:
    """Whether every file of the manifest is there with its size. Cheap; `faults` reads the bytes."""
    listed = _listed(folder)
    return bool(listed) and all(
        (folder / name).is_file() and (folder / name).stat().st_size == facts["size_bytes"] for name, facts in listed.items()
    )


def faults(folder: Path) -> tuple[str, ...]:
    """Names of files that are missing or whose sha256 is not the manifest's; the manifest itself when it is missing."""
    listed = _listed(folder)
    if not listed:
        return (MANIFEST,)
    return tuple(
        name for name, facts in listed.items() if not (folder / name).is_file() or sha256_of(folder / name) != facts["sha256"]
    )


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return {}
    return listed if isinstance(listed, dict) else {}
