"""Model files: `ensure` makes a named model ready on this disk, `entry` tells what is known about it."""

from pathlib import Path

from rich.console import Console

from agents.domain.errors import ModelFileError
from serving.models.catalog import Entry, load
from serving.models.convert import convert
from serving.models.fetch import default_cache, fetch
from serving.models.snapshot import fetch_snapshot

__all__ = ["Entry", "default_name", "ensure", "entry"]


def default_name() -> str:
    """The model used when nobody chose one."""
    return load().default


def entry(name: str) -> Entry:
    """What `models.toml` says about a model. Raises NotFound."""
    return load().entry(name)


def ensure(name: str, profile: str = "cpu", *, quiet: bool = False, cache: Path | None = None) -> Path:
    """The folder the engine loads for `name`: downloaded, checked and converted on the first call, found at once later.

    `quiet` prints nothing; otherwise progress goes to standard error. Raises NotFound for an unknown name, ModelFileError
    when the model is not meant for the profile or no source has it. Safe to interrupt and to call from two processes."""
    wanted = entry(name)
    if profile not in wanted.engine:
        raise ModelFileError(
            f"{name} has no engine arguments for the profile {profile!r}",
            hint=f"It runs under: {', '.join(wanted.engine)}. See `keepword models list`.",
        )
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    place = cache or default_cache()
    if wanted.file is None:
        return fetch_snapshot(wanted, place, console)
    return convert(wanted, fetch(wanted, place, console), place, console)
