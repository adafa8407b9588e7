"""scenarios.toml, ladders.toml and exemplars/*.toml as domain values."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.domain.words import Act, Exemplar, Ladder, Risk, Rung, Scenario, Slot
from agents.packs.reading import Mistakes, TomlFile, strings, texts


def read_slots(file: TomlFile, locales: tuple[str, ...]) -> dict[str, Slot]:
    found = {}
    for name, raw in _tables(file, "slot"):
        place = f"[slot.{name}"
        pattern, template = str(raw.get("pattern", "")), str(raw.get("template", ""))
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            file.mistake(f"slot {name!r}: pattern does not compile: {error}", place, "pattern")
            pattern, groups = r"(?!)", set()
        if not pattern:
            file.mistake(f"slot {name!r} has no pattern", place)
        for group in set(re.findall(r"\{(\w+)\}", template)) - groups:
            file.mistake(f"slot {name!r}: template names {group!r}, no group of the pattern", place, "template")
        ask = texts(file, raw.get("ask"), locales, f"slot {name!r}: ask", place)
        found[name] = Slot(name, pattern, template, ask)
    return found


def read_scenarios(file: TomlFile, locales: tuple[str, ...], slots: Mapping[str, Slot]) -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}
    codes: dict[str, str] = {}
    for name, raw in _tables(file, "scenario"):
        place, code = f"[scenario.{name}", str(raw.get("code", ""))
        if not re.fullmatch(r"[A-Z]", code):
            file.mistake(f"scenario {name!r}: code must be one capital letter", place, "code")
        elif code in codes:
            file.mistake(f"scenario {name!r}: code {code} is {codes[code]!r}'s", place, "code")
        codes[code] = name
        if raw.get("risk", "low") not in {risk.value for risk in Risk}:
            file.mistake(f"scenario {name!r}: risk must be low, medium or high", place, "risk")
            raw = {**raw, "risk": "low"}
        needs = strings(file, raw.get("slots", []), f"scenario {name!r}: slots", place, "slots")
        for slot in needs:
            if slot not in slots:
                file.mistake(f"scenario {name!r}: no slot named {slot!r}", place, "slots")
        found[name] = Scenario(
            id=name,
            code=code,
            title=texts(file, raw.get("title"), locales, f"scenario {name!r}: title", place),
            description=texts(file, raw.get("description"), locales, f"scenario {name!r}: description", place),
            risk=Risk(raw.get("risk", "low")),
            slots=tuple(slot for slot in needs if slot in slots),
            reads=strings(file, raw.get("reads", []), f"scenario {name!r}: reads", place, "reads"),
            ladder=raw.get("ladder"),
            tell=texts(file, raw["tell"], locales, f"scenario {name!r}: tell", place, "tell") if "tell" in raw else {},
            handoff=bool(raw.get("handoff", False)),
        )
    return found


def read_ladders(file: TomlFile, locales: tuple[str, ...]) -> dict[str, Ladder]:
    found = {}
    for name, raw in _tables(file, "ladder"):
        rungs = []
        for index, rung in enumerate(raw.get("rung", []), 1):
            place, what = f"[ladder.{name}", f"ladder {name!r}, rung {index}"
            action, args = rung.get("action"), rung.get("args", {})
            if not isinstance(action, str) or not isinstance(args, Mapping):
                file.mistake(f"{what} needs an action and args", place)
                continue
            said = texts(file, rung.get("text"), locales, f"{what}: text", place, f'"{action}"')
            done = texts(file, rung.get("done"), locales, f"{what}: done", place, f'"{action}"')
            rungs.append(Rung(action, {key: str(source) for key, source in args.items()}, said, done))
        if not rungs:
            file.mistake(f"ladder {name!r} has no rung", f"[ladder.{name}")
        found[name] = Ladder(name, tuple(rungs))
    return found


def read_exemplars(
    root: Path, scenarios: Mapping[str, Scenario], locales: tuple[str, ...], mistakes: Mistakes
) -> tuple[Exemplar, ...]:
    found = []
    acts = {act.value for act in Act}
    for path in sorted((root / "exemplars").glob("*.toml")):
        file = TomlFile(path, mistakes)
        for raw in file.data.get("exemplar", []):
            text = str(raw.get("text", ""))
            place = text[:20].partition('"')[0]
            if raw.get("scenario") is not None and raw["scenario"] not in scenarios:
                file.mistake(f"no scenario named {raw['scenario']!r}", place)
            elif raw.get("act") not in acts:
                file.mistake(f"unknown act {raw.get('act')!r}", place, hint=f"One of {', '.join(sorted(acts))}.")
            elif raw.get("locale") not in locales:
                file.mistake(f"locale {raw.get('locale')!r} is not one of the pack's", place)
            elif not text.strip():
                file.mistake("an exemplar has no text", place)
            else:
                found.append(Exemplar(text, raw["locale"], raw.get("scenario"), Act(raw["act"])))
    return tuple(found)


def _tables(file: TomlFile, key: str) -> list[tuple[str, dict[str, Any]]]:
    raw = file.data.get(key, {})
    if not isinstance(raw, Mapping):
        file.mistake(f"{key} must be tables: [{key}.NAME]", key)
        return []
    return [(name, dict(value)) for name, value in raw.items() if isinstance(value, Mapping)]
