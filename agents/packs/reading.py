"""Reading a pack's files while collecting every mistake with file and line, instead of stopping at the first."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agents.domain.errors import Mistake

AT = "\0line "  # begins a needle that is a line already found


class Mistakes:
    """Grows while a pack is read. `file` is relative to the pack's folder; one that lies elsewhere keeps its path."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.found: list[Mistake] = []

    def add(self, path: Path, line: int, message: str, hint: str = "") -> None:
        own = path.relative_to(self._root) if path.is_relative_to(self._root) else path
        self.found.append(Mistake(own.as_posix(), line, message, hint))


class TomlFile:
    """A parsed TOML file that can still say on which line something stands. Missing or malformed: empty, and a mistake."""

    def __init__(self, path: Path, mistakes: Mistakes) -> None:
        self.path = path
        self._mistakes = mistakes
        self._lines: list[str] = []
        self.data: Mapping[str, Any] = {}
        self.broken = True
        if not path.is_file():
            mistakes.add(path, 1, "this file is missing", "See the pack format: agents/packs/README.md.")
            return
        try:
            text = path.read_text(encoding="utf-8")
            self._lines = text.splitlines()
            self.data = tomllib.loads(text)
            self.broken = False
        except UnicodeDecodeError:
            mistakes.add(path, 1, "not UTF-8")
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            mistakes.add(path, int(line.group(1)) if line else max(len(self._lines), 1), f"not TOML: {error}")

    def line_of(self, *needles: str) -> int:
        """The line where the last of `needles` first stands at or after the line of the one before it; 1 if nowhere."""
        at = 0
        for needle in needles:
            if needle.startswith(AT):
                at = int(needle.removeprefix(AT))
                continue
            at = next((index for index in range(at, len(self._lines)) if needle in self._lines[index]), at)
        return at + 1

    def nth(self, needle: str, number: int) -> str:
        """The `number`th line (from 1) that begins with `needle`, in a form `line_of` finds; the needle where there is none."""
        found = [index for index, line in enumerate(self._lines) if line.lstrip().startswith(needle)]
        return f"{AT}{found[number - 1]}" if 0 < number <= len(found) else needle

    def table(self, value: Any, what: str, *needles: str) -> dict[str, Any]:
        """`value` as a table; anything else is a mistake and empty."""
        if isinstance(value, Mapping):
            return dict(value)
        self.mistake(f"{what} must be a table", *needles)
        return {}

    def tables(self, value: Any, what: str, *needles: str) -> list[dict[str, Any]]:
        """`value` as an array of tables; anything else is a mistake and empty."""
        if isinstance(value, list) and all(isinstance(item, Mapping) for item in value):
            return [dict(item) for item in value]
        self.mistake(f"{what} must be an array of tables", *needles)
        return []

    def known(self, keys: Iterable[str], allowed: frozenset[str], what: str, *needles: str) -> None:
        """A key that is not `allowed` is a misspelling, and a mistake."""
        for key in keys:
            if key not in allowed:
                self.mistake(f"{what}: unknown key {key!r}", *needles, key, hint=f"Known: {', '.join(sorted(allowed))}.")

    def mistake(self, message: str, *needles: str, hint: str = "") -> None:
        self._mistakes.add(self.path, self.line_of(*needles), message, hint)


def texts(file: TomlFile, value: Any, locales: tuple[str, ...], what: str, *needles: str) -> dict[str, str]:
    """One text per locale; a missing locale is a mistake. A plain string is the same text for every locale."""
    if isinstance(value, str):
        return dict.fromkeys(locales, value)
    if not isinstance(value, Mapping):
        file.mistake(f"{what} needs a text for each of {', '.join(locales)}", *needles)
        return dict.fromkeys(locales, "")
    for locale in value:
        if locale not in locales:
            file.mistake(f"{what}: {locale!r} is not one of the pack's locales", *needles)
    for locale in locales:
        if not isinstance(value.get(locale), str) or not value[locale].strip():
            file.mistake(f"{what} has no text in {locale!r}", *needles)
    return {locale: str(value.get(locale, "")) for locale in locales}


def strings(file: TomlFile, value: Any, what: str, *needles: str) -> tuple[str, ...]:
    """A list of strings, or one string."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    file.mistake(f"{what} must be a string or a list of strings", *needles)
    return ()
