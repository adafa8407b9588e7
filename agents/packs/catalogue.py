"""scenarios.toml, ladders.toml and exemplars/*.toml as domain values."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.domain.words import Act, Exemplar, Ladder, Risk, Rung, Scenario, Slot
from agents.packs.reading import Mistakes, TomlFile, strings, texts

_SLOT = frozenset({"pattern", "template", "ask"})
_SCENARIO = frozenset({"title", "description", "risk", "slots", "reads", "ladder", "tell", "handoff"})
_STEP = frozenset({"action", "args", "text", "done", "undone", "final"})
_RUNG = _STEP | {"then"}
_EXEMPLAR = frozenset({"text", "locale", "scenario", "act"})


def read_slots(file: TomlFile, locales: tuple[str, ...]) -> dict[str, Slot]:
    found = {}
    for name, raw in _tables(file, "slot"):
        place = f"[slot.{name}"
        file.known(raw, _SLOT, f"slot {name!r}", place)
        pattern, template = str(raw.get("pattern", "")), str(raw.get("template", ""))
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            file.mistake(f"slot {name!r}: pattern does not compile: {error}", place, "pattern")
            pattern, groups = r"(?!)", set()
        if not pattern:
            file.mistake(f"slot {name!r} has no pattern", place)
        if not template:
            file.mistake(f"slot {name!r} has no template", place)
        for group in sorted(set(re.findall(r"\{(\w+)\}", template)) - groups):
            file.mistake(f"slot {name!r}: template names {group!r}, no group of the pattern", place, "template")
        ask = texts(file, raw.get("ask"), locales, f"slot {name!r}: ask", place)
        found[name] = Slot(name, pattern, template, ask)
    return found


def read_scenarios(file: TomlFile, locales: tuple[str, ...], slots: Mapping[str, Slot]) -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}
    for name, raw in _tables(file, "scenario"):
        place = f"[scenario.{name}"
        file.known(raw, _SCENARIO, f"scenario {name!r}", place)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            file.mistake(f"scenario {name!r}: an id has small letters, digits and underscores, a letter first", place)
        if raw.get("risk", "low") not in [risk.value for risk in Risk]:
            file.mistake(f"scenario {name!r}: risk must be low, medium or high", place, "risk")
            raw = {**raw, "risk": "low"}
        if not isinstance(raw.get("ladder"), str | None):
            file.mistake(f"scenario {name!r}: ladder must be one name", place, "ladder")
            raw = {**raw, "ladder": None}
        if not isinstance(raw.get("handoff", False), bool):
            file.mistake(f"scenario {name!r}: handoff must be true or false", place, "handoff")
        needs = strings(file, raw.get("slots", []), f"scenario {name!r}: slots", place, "slots")
        for slot in needs:
            if slot not in slots:
                file.mistake(f"scenario {name!r}: no slot named {slot!r}", place, "slots")
        found[name] = Scenario(
            id=name,
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
        rungs, steps_before = [], 0
        file.known(raw, frozenset({"rung"}), f"ladder {name!r}", f"[ladder.{name}")
        for index, rung in enumerate(file.tables(raw.get("rung", []), f"ladder {name!r}: rung", f"[ladder.{name}"), 1):
            place, what = file.nth(f"[[ladder.{name}.rung]]", index), f"ladder {name!r}, rung {index}"
            file.known(rung, _RUNG, what, place)
            first, then = _step(file, rung, locales, what, place), []
            for number, further in enumerate(file.tables(rung.get("then", []), f"{what}: then", place), 1):
                at = file.nth(f"[[ladder.{name}.rung.then]]", steps_before + number)
                file.known(further, _STEP, f"{what}, step {number + 1}", at)
                then.append(_step(file, further, locales, f"{what}, step {number + 1}", at))
            steps_before += len(then)
            sound = tuple(step for step in then if step is not None)
            if first is not None and len(sound) == len(then):
                rungs.append(replace(first, then=sound))
        if not rungs:
            file.mistake(f"ladder {name!r} has no rung", f"[ladder.{name}")
        found[name] = Ladder(name, tuple(rungs))
    return found


def _step(file: TomlFile, raw: Mapping[str, Any], locales: tuple[str, ...], what: str, place: str) -> Rung | None:
    """One write of a rung; None, and a mistake, where it is none."""
    action, args, final = raw.get("action"), raw.get("args", {}), raw.get("final", False)
    if not isinstance(action, str) or not isinstance(args, Mapping):
        file.mistake(f"{what} needs an action and args", place)
        return None
    if not isinstance(final, bool):
        file.mistake(f"{what}: final must be true or false", place, "final")
    said = texts(file, raw.get("text"), locales, f"{what}: text", place)
    done = texts(file, raw.get("done"), locales, f"{what}: done", place)
    undone = texts(file, raw["undone"], locales, f"{what}: undone", place, "undone") if "undone" in raw else {}
    return Rung(action, {key: str(source) for key, source in args.items()}, said, done, undone, final is True)


def read_exemplars(
    root: Path, scenarios: Mapping[str, Scenario], locales: tuple[str, ...], mistakes: Mistakes
) -> tuple[Exemplar, ...]:
    found = []
    acts = [act.value for act in Act]
    seen: dict[tuple[str, str], str] = {}
    for path in sorted((root / "exemplars").glob("*.toml")):
        file = TomlFile(path, mistakes)
        file.known(file.data, frozenset({"exemplar"}), path.name)
        for index, raw in enumerate(file.tables(file.data.get("exemplar", []), "exemplar"), 1):
            text, scenario, place = raw.get("text"), raw.get("scenario"), file.nth("[[exemplar]]", index)
            file.known(raw, _EXEMPLAR, f"exemplar {index}", place)
            if not isinstance(text, str) or not text.strip():
                file.mistake("an exemplar has no text", place)
            elif scenario is not None and (not isinstance(scenario, str) or scenario not in scenarios):
                file.mistake(f"no scenario named {scenario!r}", place, "scenario")
            elif raw.get("act") not in acts:
                file.mistake(f"unknown act {raw.get('act')!r}", place, "act", hint=f"One of {', '.join(acts)}.")
            elif raw.get("locale") not in locales:
                file.mistake(f"locale {raw.get('locale')!r} is not one of the pack's", place, "locale")
            elif (key := (raw["locale"], text.strip().casefold())) in seen:
                file.mistake(f"the exemplar {text[:40]!r} stands twice", place, hint=f"First in {seen[key]}.")
            else:
                seen[key] = path.name
                found.append(Exemplar(text, raw["locale"], scenario, Act(raw["act"])))
    return tuple(found)


def _tables(file: TomlFile, key: str) -> list[tuple[str, dict[str, Any]]]:
    """The tables [key.NAME] with their names."""
    whole = file.table(file.data.get(key, {}), key, key)
    return [(name, file.table(value, f"{key}.{name}", f"{key}.{name}")) for name, value in whole.items()]
