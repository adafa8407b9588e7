"""Grammars known at deploy time, compiled to token automata ahead of the first request and kept on disk.

A structure becomes an Outlines type, the type a regular expression, the expression an index over the tokenizer's
vocabulary (Willard and Louf, "Efficient Guided Generation for Large Language Models", 2023). Compiling takes up to
seconds, loading milliseconds.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import outlines_core  # type: ignore[import-untyped]
from outlines.types.dsl import Choice, JsonSchema, Regex, Term, to_regex

from agents.ports import Structure

_DIGEST_BYTES: Final = 32
_OF_ANY: Final = ("type", "enum", "const", "title", "description")
_OF_OBJECTS: Final = ("properties", "required", "additionalProperties")
_OF_ARRAYS_AND_STRINGS: Final = ("items", "minItems", "maxItems", "minLength", "maxLength", "pattern")
_KEPT: Final = frozenset((*_OF_ANY, *_OF_OBJECTS, *_OF_ARRAYS_AND_STRINGS))


def outlines_type(structure: Structure) -> Term:
    """The Outlines type of a structure. JSON has no white space: every token of it would cost a decoding step."""
    if structure.kind == "regex":
        return Regex(structure.spec)
    if structure.kind == "choice":
        return Choice(json.loads(structure.spec))
    return JsonSchema(structure.spec, whitespace_pattern="")


def pattern_of(structure: Structure) -> str:
    """The regular expression of a structure. Raises TypeError or ValueError when Outlines cannot express it."""
    return to_regex(outlines_type(structure))


def expressible(structure: Structure) -> bool:
    """Whether the automaton means exactly what the structure says. Outlines drops the bounds of numbers (and lets their digits
    run on), so a schema that has numbers, or a keyword not in the lists above, is left to llguidance, which keeps them."""
    return structure.kind != "json" or _kept(json.loads(structure.spec))


def _kept(schema: Any) -> bool:
    if not isinstance(schema, dict) or not schema.keys() <= _KEPT or not {"type", "enum", "const"} & schema.keys():
        return False
    if schema.get("type", "string") not in ("object", "array", "string", "boolean", "null"):
        return False
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return False
    if schema.get("type") == "array" and "maxItems" not in schema:
        return False
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return all(_kept(part) for part in inner)


def reference(structure: Structure) -> str:
    """What a request sends in place of a structure the engine knows: short to check and to carry, and not to be guessed.
    It has the form of a regular expression, which is what it travels as."""
    content = "\n".join((structure.kind, structure.spec))
    return f"keepword-{hashlib.sha256(content.encode()).hexdigest()}"


def tokenizer_digest(vocabulary: Mapping[str, int], eos_token_id: int) -> str:
    """sha256 over what a compiled grammar depends on: every token with its id, and the end token."""
    listing = json.dumps([eos_token_id, sorted(vocabulary.items())], ensure_ascii=True)
    return hashlib.sha256(listing.encode()).hexdigest()


class GrammarCache:
    """Compiled grammars in a folder. The file name is a digest of tokenizer, pattern and library version, so a changed
    structure, tokenizer or library never finds an old file. `vocabulary` is called only when something must be compiled."""

    def __init__(self, folder: Path | None, digest: str, vocabulary: Callable[[], outlines_core.Vocabulary]) -> None:
        self._folder = folder
        self._digest = digest
        self._vocabulary = vocabulary
        self.compiled = 0
        self.loaded = 0

    def index(self, structure: Structure) -> outlines_core.Index:
        """The automaton of `structure`: from disk, or compiled now and written for the next start."""
        pattern = pattern_of(structure)
        path = self._path(pattern)
        found = _read(path) if path is not None else None
        if found is not None:
            self.loaded += 1
            return found
        index = outlines_core.Index(pattern, self._vocabulary())
        self.compiled += 1
        if path is not None:
            _write(path, index)
        return index

    def _path(self, pattern: str) -> Path | None:
        if self._folder is None:
            return None
        key = "\n".join((self._digest, version("outlines-core"), pattern))
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.index"


def _read(path: Path) -> outlines_core.Index | None:
    """None when the file is missing, or is not whole (a crash, a full disk): it is then compiled again."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    return outlines_core.Index.from_binary(payload)


def _write(path: Path, index: outlines_core.Index) -> None:
    """Write beside, then rename: another process never sees half a file."""
    reduced: Any = index.__reduce__()
    payload: bytes = bytes(reduced[1][0])
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.part")
    beside.write_bytes(hashlib.sha256(payload).digest() + payload)
    beside.replace(path)
