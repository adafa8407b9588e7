"""Model files: `ensure` makes a named model ready on this disk, `entry` tells what is known about it."""

from pathlib import Path

from rich.console import Console

from agents.domain.errors import ModelFileError
from serving.models.catalog import Entry, load
from serving.models.convert import convert
from serving.models.fetch import default_cache, fetch
from serving.models.precision import Precision, in_precision, suited
from serving.models.snapshot import fetch_snapshot

__all__ = ["Entry", "default_name", "ensure", "entries", "entry"]


def default_name() -> str:
    """The model used when nobody chose one."""
    return load().default


def entry(name: str, precision: Precision | None = None) -> Entry:
    """What `models.toml` says about a model, in the precision that suits this CPU or in the one named. Raises NotFound."""
    return in_precision(load().entry(name), precision or suited())


def entries() -> tuple[Entry, ...]:
    """Every model there is, each as `entry` tells it."""
    return tuple(entry(name) for name in load().entries)


def ensure(
    name: str, profile: str = "cpu", *, quiet: bool = False, cache: Path | None = None, precision: Precision | None = None
) -> Path:
    """The folder the engine loads for `name`: downloaded, checked and converted on the first call, found at once later.

    `precision` as for `entry`. `quiet` prints nothing; otherwise progress goes to standard error. Raises NotFound for an
    unknown name, ModelFileError when the model is not meant for the profile or no source has it. Safe to interrupt and to
    call from two processes."""
    wanted = entry(name, precision)
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
