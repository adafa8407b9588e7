"""Checks across a pack's files: every name one file uses exists in another, every condition reads facts that can be had."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agents.domain.pack import Pack
from agents.domain.render import placeholders
from agents.domain.words import Effect, Texts
from agents.packs.reading import Mistakes, TomlFile
from agents.policy.conditions import ConditionInvalid, Expression
from agents.tools.registry import BoundTool

ANY = "*"
_ANSWERS = ("greet", "confirm", "clarify", "handoff", "failed", "pending", "denied", "declined")
TEXTS = frozenset({*_ANSWERS, "not_found", "unavailable", "also", "unsure"})
_STRING = re.compile(r"\"[^\"]*\"|'[^']*'")
_FIELD = re.compile(r"\b([a-z_]\w*)\.([a-z_]\w*)\b(?!\()")


def fact_fields(tools: Iterable[BoundTool]) -> dict[str, frozenset[str]]:
    """Fact name -> its fields, from the read tools' return types (empty when the type says nothing)."""
    found = {}
    for bound in tools:
        if bound.spec.provides is not None:
            fields = dataclasses.fields(bound.returns) if dataclasses.is_dataclass(bound.returns) else ()
            found[bound.spec.provides] = frozenset(field.name for field in fields)
    return found


class CrossCheck:
    """Adds what it finds to `mistakes`."""

    def __init__(self, pack: Pack, tools: Iterable[BoundTool], mistakes: Mistakes, files: Mapping[str, TomlFile]) -> None:
        self._pack, self._mistakes, self._files = pack, mistakes, files
        self._tools = {bound.spec.name: bound for bound in tools}
        self._facts = fact_fields(self._tools.values())
        self._writes = {name for name, bound in self._tools.items() if bound.spec.kind == "write"}

    def run(self) -> None:
        self._clauses()
        self._scenarios()
        self._ladders()
        self._texts()

    def _clauses(self) -> None:
        for clause in self._pack.clauses:
            path = self._pack.path / clause.file
            for scenario in clause.scenarios:
                if scenario != ANY and scenario not in self._pack.scenarios:
                    self._mistakes.add(path, _line(path, "scenario"), f"no scenario named {scenario!r}")
            for action in clause.actions:
                if action != ANY and action not in self._writes:
                    self._mistakes.add(path, _line(path, "action"), f"no write tool named {action!r}")
            for key, source in (("when", clause.when), *(("limits", source) for source in clause.limits.values())):
                for problem in self._condition(source, {"param", "args", "confirmed"}):
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
            if not any(exemplar.scenario == scenario.id for exemplar in self._pack.exemplars):
                file.mistake(f"scenario {scenario.id!r} has no exemplar", place, hint="Add some to exemplars/*.toml.")

    def _ladders(self) -> None:
        file = self._files["ladders"]
        permitted = {a for c in self._pack.clauses if c.effect is Effect.PERMIT for a in c.actions}
        confirmed = {a for c in self._pack.clauses if c.effect is Effect.REQUIRE and "confirmed" in c.when for a in c.actions}
        for ladder in self._pack.ladders.values():
            for rung in ladder.rungs:
                place = (f"[ladder.{ladder.id}", f'"{rung.action}"')
                if rung.action not in self._writes:
                    file.mistake(f"ladder {ladder.id!r}: no write tool named {rung.action!r}", *place)
                    continue
                if not permitted & {rung.action, ANY}:
                    file.mistake(f"no clause permits {rung.action!r}: it can never be offered", *place)
                if not confirmed & {rung.action, ANY}:
                    file.mistake(f"no clause requires a confirmation for {rung.action!r}", *place, hint="when: confirmed")
                wanted = set(self._tools[rung.action].spec.parameters.get("properties", {}))
                for name in wanted ^ set(rung.args):
                    word = "lacks" if name in wanted else "has an unknown"
                    file.mistake(f"{rung.action!r} {word} argument {name!r}", *place)
                for source in rung.args.values():
                    for problem in self._condition(source, {"param"}):
                        file.mistake(f"{rung.action!r}: {problem}", *place)
                extra = frozenset({"amount", *(f"args.{name}" for name in rung.args)})
                self._placeholders(file, rung.text, extra, *place)
                self._placeholders(file, rung.done, extra, *place, receipts=True)

    def _texts(self) -> None:
        for key in sorted(TEXTS - set(self._pack.texts)):
            self._files["pack"].mistake(f"texts.{key} is missing", "[texts", hint="See agents/packs/README.md.")

    def _condition(self, source: str, roots: set[str]) -> list[str]:
        try:
            expression = Expression(source)
        except ConditionInvalid as error:
            return [f"not CEL: {str(error).splitlines()[0]}"]
        problems = [f"no read tool provides {n!r}" for n in expression.names if n not in roots and n not in self._facts]
        for root, field in _FIELD.findall(_STRING.sub('""', source)):
            if root == "param" and field not in self._pack.parameters:
                problems.append(f"no parameter named {field!r}")
            elif self._facts.get(root) and field not in self._facts[root]:
                problems.append(f"fact {root!r} has no field {field!r}")
        return problems

    def _placeholders(self, file: TomlFile, said: Texts, extra: frozenset[str], *place: str, receipts: bool = False) -> None:
        for text in said.values():
            for name in placeholders(text):
                root, _, field = name.partition(".")
                known = name in extra or (root in self._facts and (not self._facts[root] or field in self._facts[root]))
                if not known and not (receipts and root == "receipt"):
                    file.mistake(f"placeholder {{{name}}} is filled by nothing", *place, hint=text[:60])


def _line(path: Path, key: str) -> int:
    rows: list[Any] = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((n for n, row in enumerate(rows, 1) if row.startswith(f"{key}:")), 1)
