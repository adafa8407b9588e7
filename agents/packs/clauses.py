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
_CITE_HINT = "For example: cite: {en: Returns 2.1, zh: 退货 2.1}."
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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        mistakes.add(path, 1, "not UTF-8")
        return None
    match = _FRONT.match(text)
    if match is None:
        mistakes.add(path, 1, "no front matter", "Begin with ---, the keys, and --- again.")
        return None
    try:
        front = yaml.safe_load(match["front"])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = f"front matter is not YAML: {getattr(error, 'problem', error)}"
        mistakes.add(path, (mark.line + 2) if mark else 2, what, "Quote a condition that begins with ! or holds a colon.")
        return None
    except ValueError as error:  # a value YAML takes for a date that is none
        mistakes.add(path, 2, f"front matter is not YAML: {error}")
        return None
    if not isinstance(front, dict):
        mistakes.add(path, 2, "front matter must be keys with values")
        return None
    return _checked(path, front, _bodies(path, match, locales, mistakes), text, locales, mistakes)


def _checked(
    path: Path, front: dict[str, Any], body: dict[str, str], text: str, locales: tuple[str, ...], mistakes: Mistakes
) -> Clause | None:
    def line(key: str) -> int:
        return next((n for n, row in enumerate(text.splitlines(), 1) if row.startswith(f"{key}:")), 2)

    sound = True
    for key in front:
        if key not in _KEYS:
            mistakes.add(path, line(str(key)), f"unknown key {key!r}", f"Known: {', '.join(_KEYS)}.")
    head = text.partition("\n---")[0].splitlines()
    for key in _KEYS:
        rows = [number for number, row in enumerate(head, 1) if row.startswith(f"{key}:")]
        if len(rows) > 1:  # YAML would silently take the last one
            mistakes.add(path, rows[1], f"{key!r} is said twice")
    effect = front.get("effect")
    needed = (
        ("id", "scenario", "effect", "action", "cite")
        if effect == "cap"
        else ("id", "scenario", "effect", "action", "when", "cite")
    )
    for key in needed:
        if front.get(key) in (None, "", []):
            mistakes.add(path, line(key), f"{key!r} is missing", "Say `when: true` for always." if key == "when" else "")
            sound = False
    effects = [effect.value for effect in Effect]
    if effect and effect not in effects:
        mistakes.add(path, line("effect"), f"unknown effect {effect!r}", f"One of {', '.join(effects)}.")
        sound = False
    for key in ("when", *_KEYS[:2]):
        if isinstance(front.get(key), dict):
            mistakes.add(path, line(key), f"{key!r} must be a value, not a mapping", "Quote it.")
            sound = False
    limits = front.get("limits") or {}
    if not isinstance(limits, dict) or set(limits) - _LIMITS:
        mistakes.add(path, line("limits"), "limits may hold amount_cents, count and window_days")
        limits = {}
    if effect == "cap" and not set(limits) & {"amount_cents", "count"}:
        mistakes.add(path, line("limits"), "a cap needs a limit: amount_cents or count")
    if effect != "cap" and limits:
        mistakes.add(path, line("limits"), "only a cap has limits")
    cite = _cite(front.get("cite"), locales)
    if front.get("cite") and set(cite) != set(locales):
        mistakes.add(path, line("cite"), "'cite' is one text for all languages or one for each of the pack's", _CITE_HINT)
    if not sound:
        return None
    return Clause(
        id=str(front["id"]),
        scenarios=_listed(front["scenario"]),
        effect=Effect(front["effect"]),
        actions=_listed(front["action"]),
        when=_cel(True if front.get("when") is None else front["when"]),
        limits={name: _cel(source) for name, source in limits.items()},
        cite=cite,
        body=body,
        file=f"policy/{path.name}",
        line=line("id"),
    )


def _bodies(path: Path, match: re.Match[str], locales: tuple[str, ...], mistakes: Mistakes) -> dict[str, str]:
    pieces = _LOCALE.split(match["body"])
    for code in dict.fromkeys(pieces[1::2]):
        if code not in locales or pieces[1::2].count(code) > 1:
            line = match["front"].count("\n") + 3 + match["body"].partition(f"## {code}")[0].count("\n")
            mistakes.add(
                path, line, f"text in {code!r} twice" if code in locales else f"{code!r} is not one of the pack's locales"
            )
    bodies = {code: prose.strip() for code, prose in zip(pieces[1::2], pieces[2::2], strict=True)}
    for locale in locales:
        if not bodies.get(locale):
            line = match["front"].count("\n") + 3
            mistakes.add(path, line, f"no text in {locale!r}", f"Add a section '## {locale}'.")
    return {locale: bodies.get(locale, "") for locale in locales}


def _cite(value: Any, locales: tuple[str, ...]) -> dict[str, str]:
    """Locale -> how the clause is cited. A plain value is cited the same everywhere."""
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else dict.fromkeys(locales, str(value))


def _listed(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)


def _cel(value: Any) -> str:
    """YAML reads a bare true or 14 as its own type; CEL wants source."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
