"""policy/*.md: one clause a file, front matter and a body per locale."""

import re
from pathlib import Path
from typing import Any

import yaml

from agents.domain.words import Clause, Effect
from agents.packs.reading import Mistakes

_FRONT = re.compile(r"\A---\n(?P<front>.*?\n)---\n(?P<body>.*)\Z", re.DOTALL)
_LOCALE = re.compile(r"^## *(?P<locale>[A-Za-z-]+) *$", re.MULTILINE)
_KEYS = ("id", "scenario", "effect", "action", "when", "limits", "cite")
_LIMITS = frozenset({"amount_cents", "count", "window_days"})


def read_clauses(root: Path, locales: tuple[str, ...], mistakes: Mistakes) -> tuple[Clause, ...]:
    """Every clause under `root`/policy, by file name. A file that is no clause is a mistake and left out."""
    folder = root / "policy"
    found: dict[str, Clause] = {}
    for path in sorted(folder.glob("*.md")):
        clause = _clause(path, locales, mistakes)
        if clause is None:
            continue
        if clause.id in found:
            mistakes.add(path, clause.line, f"clause id {clause.id!r} is used twice", f"Also in {found[clause.id].file}.")
        found[clause.id] = clause
    if not found:
        mistakes.add(root / "pack.toml", 1, "the pack has no clause: everything would be denied", "Add policy/NAME.md.")
    return tuple(found.values())


def _clause(path: Path, locales: tuple[str, ...], mistakes: Mistakes) -> Clause | None:
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    match = _FRONT.match(text)
    if match is None:
        mistakes.add(path, 1, "no front matter", "Begin with ---, the keys, and --- again.")
        return None
    try:
        front = yaml.safe_load(match["front"])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        mistakes.add(path, (mark.line + 2) if mark else 2, f"front matter is not YAML: {getattr(error, 'problem', error)}")
        return None
    if not isinstance(front, dict):
        mistakes.add(path, 2, "front matter must be keys with values")
        return None
    return _checked(path, front, _bodies(path, match, locales, mistakes), text, mistakes)


def _checked(path: Path, front: dict[str, Any], body: dict[str, str], text: str, mistakes: Mistakes) -> Clause | None:
    def line(key: str) -> int:
        return next((n for n, row in enumerate(text.splitlines(), 1) if row.startswith(f"{key}:")), 2)

    sound = True
    for key in front:
        if key not in _KEYS:
            mistakes.add(path, line(str(key)), f"unknown key {key!r}", f"Known: {', '.join(_KEYS)}.")
    for key in ("id", "scenario", "effect", "action", "cite"):
        if not front.get(key):
            mistakes.add(path, line(key), f"{key!r} is missing")
            sound = False
    effects = [effect.value for effect in Effect]
    if front.get("effect") and front["effect"] not in effects:
        mistakes.add(path, line("effect"), f"unknown effect {front['effect']!r}", f"One of {', '.join(effects)}.")
        sound = False
    limits = front.get("limits") or {}
    if not isinstance(limits, dict) or set(limits) - _LIMITS:
        mistakes.add(path, line("limits"), "limits may hold amount_cents, count and window_days")
        limits = {}
    if front.get("effect") == "cap" and not set(limits) & {"amount_cents", "count"}:
        mistakes.add(path, line("limits"), "a cap needs a limit: amount_cents or count")
    if not sound:
        return None
    return Clause(
        id=str(front["id"]),
        scenarios=_listed(front["scenario"]),
        effect=Effect(front["effect"]),
        actions=_listed(front["action"]),
        when=_cel(front.get("when", True)),
        limits={name: _cel(source) for name, source in limits.items()},
        cite=str(front["cite"]),
        body=body,
        file=f"policy/{path.name}",
        line=line("id"),
    )


def _bodies(path: Path, match: re.Match[str], locales: tuple[str, ...], mistakes: Mistakes) -> dict[str, str]:
    pieces = _LOCALE.split(match["body"])
    bodies = {code: prose.strip() for code, prose in zip(pieces[1::2], pieces[2::2], strict=True)}
    for locale in locales:
        if not bodies.get(locale):
            line = match["front"].count("\n") + 3
            mistakes.add(path, line, f"no text in {locale!r}", f"Add a section '## {locale}'.")
    return {locale: bodies.get(locale, "") for locale in locales}


def _listed(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)


def _cel(value: Any) -> str:
    """YAML reads a bare true or 14 as its own type; CEL wants source."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
