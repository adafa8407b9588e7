"""Checks across a pack's files: every name one file uses exists in another, every condition reads facts that can be had."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agents.domain.pack import Pack
from agents.domain.render import PLACEHOLDER, placeholders
from agents.domain.words import Clause, Rung, Texts
from agents.packs.cel_types import BOOL, INT, Schema, TypeCheck, type_of
from agents.packs.compensations import needs_step_texts, wrong_compensations, wrong_steps
from agents.packs.reach import unreachable
from agents.packs.reading import Mistakes, TomlFile
from agents.packs.soundness import unsound
from agents.policy.conditions import GIVEN, ConditionInvalid, Expression, without_strings
from agents.tools.registry import BoundTool

ANY = "*"
_ANSWERS = (
    *("greet", "confirm", "clarify", "failed", "pending", "denied", "declined"),
    *("not_found", "unavailable", "unsure", "with_person"),
)
TEXTS: Mapping[str, frozenset[str]] = {key: frozenset[str]() for key in _ANSWERS} | {
    "handoff": frozenset({"owner", "due"}),
    "also": frozenset({"title"}),
}  # key -> the placeholders the code fills in it
STEP_TEXTS = frozenset({"undone", "half_done", "unfinished"})  # what a pack with an offer of several writes says, too
_FIELD = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\.([A-Za-z_]\w*)\b(?!\s*\()")
_HAS_ARG = re.compile(r"\bhas\s*\(\s*args\.(\w+)\s*\)")


def fact_fields(tools: Iterable[BoundTool]) -> dict[str, frozenset[str]]:
    """Fact name -> its fields, from the read tools' return types (empty when the type says nothing)."""
    return {bound.spec.provides: _fields(bound) for bound in tools if bound.spec.provides is not None}


def fact_schemas(tools: Iterable[BoundTool]) -> dict[str, Mapping[str, Schema]]:
    """Fact name -> field -> its JSON Schema, from the read tools' return types."""
    return {bound.spec.provides: bound.spec.returns.get("properties", {}) for bound in tools if bound.spec.provides is not None}


def _fields(bound: BoundTool) -> frozenset[str]:
    fields = dataclasses.fields(bound.returns) if dataclasses.is_dataclass(bound.returns) else ()
    return frozenset(field.name for field in fields)


class CrossCheck:
    """Adds what it finds to `mistakes`."""

    def __init__(self, pack: Pack, tools: Iterable[BoundTool], mistakes: Mistakes, files: Mapping[str, TomlFile]) -> None:
        self._pack, self._mistakes, self._files = pack, mistakes, files
        self._tools = {bound.spec.name: bound for bound in tools}
        self._specs = {name: bound.spec for name, bound in self._tools.items()}
        self._facts = fact_fields(self._tools.values())
        self._writes = {name for name, bound in self._tools.items() if bound.spec.kind == "write"}
        self._types = TypeCheck(fact_schemas(self._tools.values()), pack.parameters)

    def run(self, *, thorough: bool = False) -> None:
        """`thorough` also looks for contradictions among clauses, which takes seconds in a large pack."""
        self._read_tools()
        self._clauses()
        self._scenarios()
        self._ladders()
        self._texts()
        if not any(mistake.file.startswith("policy/") for mistake in self._mistakes.found):  # else a clause may be missing
            self._reach()
            if thorough:
                self._soundness()

    def _soundness(self) -> None:
        for found in unsound(self._pack, self._specs, fact_schemas(self._tools.values())):
            place = ("tools.py", f"async def {found.tool}") if found.clause is None else (found.clause.file, found.key)
            path = self._pack.path / place[0]
            self._mistakes.add(path, _line(path, place[1]), found.message, found.hint)

    def _reach(self) -> None:
        for scenario, rung, message, hint in unreachable(self._pack, self._specs):
            if rung is None:
                self._files["scenarios"].mistake(message, f"[scenario.{scenario}", "reads", hint=hint)
            else:
                file = self._files["ladders"]
                file.mistake(message, file.nth(f"[[ladder.{self._pack.scenarios[scenario].ladder}.rung]]", rung + 1), hint=hint)

    def _read_tools(self) -> None:
        path, providers = self._pack.path / "tools.py", dict[str, str]()
        for name, bound in self._tools.items():
            line, fact = _line(path, f"async def {name}"), bound.spec.provides
            for need in bound.spec.requires:
                if need not in self._pack.slots and need not in self._facts:
                    self._mistakes.add(path, line, f"tool {name!r} requires {need!r}: no slot and no fact has that name")
            if fact is None:
                continue
            if fact in GIVEN or fact in self._pack.slots:
                self._mistakes.add(path, line, f"tool {name!r}: a fact cannot be named {fact!r}", "The name is taken.")
            if fact in providers:
                self._mistakes.add(path, line, f"fact {fact!r} is provided by {providers[fact]!r} and {name!r}")
            if bound.spec.kind == "read" and not self._facts[fact]:
                self._mistakes.add(path, line, f"read tool {name!r} must return a dataclass", "Its fields are the fact's.")
            providers[fact] = name
        for name, (message, hint) in wrong_compensations(self._specs):
            self._mistakes.add(path, _line(path, f"async def {name}"), message, hint)

    def _clauses(self) -> None:
        for clause in self._pack.clauses:
            path = self._pack.path / clause.file
            for scenario in clause.scenarios:
                if scenario != ANY and scenario not in self._pack.scenarios:
                    self._mistakes.add(path, _line(path, "scenario:"), f"no scenario named {scenario!r}")
            for action in clause.actions:
                if action != ANY and action not in self._writes:
                    self._mistakes.add(path, _line(path, "action:"), f"no write tool named {action!r}")
            for key, source in (("when:", clause.when), *(("limits:", source) for source in clause.limits.values())):
                problems = [*self._condition(source, GIVEN), *self._arguments(clause, source)]
                if not problems and (mistyped := self._mistyped(clause, source, BOOL if key == "when:" else INT)):
                    problems = [f"types do not fit: {mistyped}"]
                for problem in problems:
                    self._mistakes.add(path, _line(path, key), problem)

    def _scenarios(self) -> None:
        file = self._files["scenarios"]
        for scenario in self._pack.scenarios.values():
            place = f"[scenario.{scenario.id}"
            for read in scenario.reads:
                if read not in self._tools or self._tools[read].spec.kind != "read":
                    file.mistake(f"scenario {scenario.id!r}: no read tool named {read!r}", place, "reads")
            if scenario.ladder is not None and scenario.ladder not in self._pack.ladders:
                file.mistake(f"scenario {scenario.id!r}: no ladder named {scenario.ladder!r}", place, "ladder")
            self._placeholders(file, scenario.tell, frozenset(), place, "tell")
            for locale in self._pack.locales:
                if not any(e.scenario == scenario.id and e.locale == locale for e in self._pack.exemplars):
                    message = f"scenario {scenario.id!r} has no exemplar in {locale!r}"
                    file.mistake(message, place, hint="Add some to exemplars/*.toml.")
        for slot in self._pack.slots.values():
            self._braces(file, slot.ask, frozenset(), f"[slot.{slot.name}", "ask")

    def _ladders(self) -> None:
        file = self._files["ladders"]
        used = {scenario.ladder for scenario in self._pack.scenarios.values()}
        for ladder in self._pack.ladders.values():
            if ladder.id not in used:
                file.mistake(f"no scenario uses ladder {ladder.id!r}", f"[ladder.{ladder.id}")
            places, steps_before = list[list[str]](), 0
            for number, rung in enumerate(ladder.rungs, 1):
                place = file.nth(f"[[ladder.{ladder.id}.rung]]", number)
                then = [file.nth(f"[[ladder.{ladder.id}.rung.then]]", steps_before + at) for at in range(1, len(rung.then) + 1)]
                places.append([place, *then])
                steps_before += len(then)
                for step, at in zip(rung.steps, places[-1], strict=True):
                    self._step(file, ladder.id, step, at)
            for index, at_step, (message, hint) in wrong_steps(ladder, self._specs):
                file.mistake(message, places[index][at_step], hint=hint)

    def _step(self, file: TomlFile, ladder_id: str, step: Rung, place: str) -> None:
        """One write of a rung: its tool, its terms and its texts."""
        if step.action not in self._writes:
            file.mistake(f"ladder {ladder_id!r}: no write tool named {step.action!r}", place)
            return
        wanted = set(self._parameters(step.action))
        for name in sorted(wanted ^ set(step.args)):
            word = "lacks" if name in wanted else "has an unknown"
            file.mistake(f"{step.action!r} {word} argument {name!r}", place)
        for name, source in step.args.items():
            problems = self._condition(source, frozenset({"param"}))
            wanted_type = type_of(self._parameters(step.action).get(name, {}))
            if not problems and (mistyped := self._types.wrong(source, wanted=wanted_type)):
                problems = [f"argument {name!r}: types do not fit: {mistyped}"]
            for problem in problems:
                file.mistake(f"{step.action!r}: {problem}", place)
        said = frozenset(f"args.{name}" for name in step.args) | ({"amount"} if "amount_cents" in step.args else set())
        receipt = frozenset(f"receipt.{name}" for name in _fields(self._tools[step.action]))
        self._placeholders(file, step.text, said, place)
        self._placeholders(file, step.done, said | receipt, place)
        self._placeholders(file, step.undone, said | receipt, place)

    def _texts(self) -> None:
        file = self._files["pack"]
        wanted = set(TEXTS) | (STEP_TEXTS if needs_step_texts(self._pack) else set())
        for key in sorted(wanted - set(self._pack.texts)):
            file.mistake(f"texts.{key} is missing", "[texts", hint="See agents/packs/README.md.")
        for key, said in self._pack.texts.items():
            if key not in TEXTS and key not in STEP_TEXTS:
                known = ", ".join(sorted({*TEXTS, *STEP_TEXTS}))
                file.mistake(f"unknown text {key!r}", f"[texts.{key}", key, hint=f"Known: {known}.")
            self._braces(file, said, TEXTS.get(key, frozenset()), f"[texts.{key}", key)

    def _condition(self, source: str, roots: frozenset[str]) -> list[str]:
        try:
            expression = Expression(source)
        except ConditionInvalid as error:
            return [f"not CEL: {str(error).splitlines()[0]}"]
        problems = [f"no read tool provides {n!r}" for n in expression.names if n not in roots and n not in self._facts]
        problems += [f"CEL has no function {name!r}" for name in expression.unknown_functions()]
        for root, field in dict.fromkeys(_FIELD.findall(without_strings(source))):
            if root == "param" and field not in self._pack.parameters:
                problems.append(f"no parameter named {field!r}")
            elif self._facts.get(root) and field not in self._facts[root]:
                problems.append(f"fact {root!r} has no field {field!r}")
        return problems

    def _arguments(self, clause: Clause, source: str) -> list[str]:
        """Arguments the condition reads that an action of the clause does not have: there it would be unknown for ever."""
        actions = self._writes if ANY in clause.actions else self._writes & set(clause.actions)
        read = {field for root, field in _FIELD.findall(without_strings(source)) if root == "args"}
        asked = read - set(_HAS_ARG.findall(source))
        lacking = sorted((name, action) for name in asked for action in actions if name not in self._parameters(action))
        return [f"action {action!r} has no argument {name!r}: ask has(args.{name}) first" for name, action in lacking]

    def _mistyped(self, clause: Clause, source: str, wanted: Any) -> str | None:
        """Why the types of a condition do not fit; an argument that actions type differently may be anything."""
        args: dict[str, Schema] = {}
        for action in self._writes if ANY in clause.actions else self._writes & set(clause.actions):
            for name, schema in self._parameters(action).items():
                args[name] = schema if args.get(name, schema) == schema else {}
        return self._types.wrong(source, wanted=wanted, args=args)

    def _parameters(self, action: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._tools[action].spec.parameters.get("properties", {})
        return found

    def _placeholders(self, file: TomlFile, said: Texts, extra: frozenset[str], *place: str) -> None:
        facts = frozenset(f"{fact}.{field}" for fact, fields in self._facts.items() for field in fields)
        self._braces(file, said, facts | extra, *place)

    def _braces(self, file: TomlFile, said: Texts, known: frozenset[str], *place: str) -> None:
        for text in dict.fromkeys(said.values()):
            for name in dict.fromkeys(placeholders(text)):
                if name not in known:
                    file.mistake(f"placeholder {{{name}}} is filled by nothing", *place, hint=text[:60])
            if re.search(r"[{}]", PLACEHOLDER.sub("", text)):
                file.mistake("a brace that is no placeholder would be said aloud", *place, hint=text[:60])


def _line(path: Path, start: str) -> int:
    rows = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((number for number, row in enumerate(rows, 1) if row.startswith(start)), 1)
