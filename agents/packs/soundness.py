"""Does a pack's policy contradict itself? Clauses that never apply, permits that never take effect, actions nothing allows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agents.domain.pack import Pack
from agents.domain.words import Clause, Effect, ToolSpec
from agents.packs.cel_types import Schema
from agents.packs.satisfiable import Satisfiable
from agents.policy.conditions import ConditionInvalid, Expression

ANY = "*"


@dataclass(frozen=True, slots=True)
class Unsound:
    """`clause` is where it shows, `key` the line of its front matter; without a clause it is the tool called `tool`."""

    message: str
    hint: str = ""
    clause: Clause | None = None
    key: str = "when:"
    tool: str = ""


def unsound(pack: Pack, tools: Mapping[str, ToolSpec], facts: Mapping[str, Mapping[str, Schema]]) -> Iterator[Unsound]:
    """Every such mistake. Names and types must have been found right before."""
    check = _Soundness(pack, tools, facts)
    for clause in pack.clauses:
        yield from check.dead(clause)
        yield from check.beyond_every_ladder(clause)
    for clause in pack.clauses:
        if clause.effect is Effect.PERMIT:
            yield from check.contradicted(clause)
    yield from check.never_permitted()


class _Soundness:
    def __init__(self, pack: Pack, tools: Mapping[str, ToolSpec], facts: Mapping[str, Mapping[str, Schema]]) -> None:
        self._pack, self._facts = pack, facts
        self._writes = {name: spec for name, spec in tools.items() if spec.kind == "write"}
        self._never: set[str] = set()

    def dead(self, clause: Clause) -> Iterator[Unsound]:
        """A condition that no facts can make true, a cap that nothing fits into."""
        condition = _compiled(clause.when)
        if condition is not None and self._space(clause).together([condition]) is False:
            self._never.add(clause.id)
            what = "everything is denied" if clause.effect is Effect.REQUIRE else "the clause never applies"
            yield Unsound(f"no facts can make this condition true: {what}", clause.when, clause)
        for name, least in (("amount_cents", 0), ("count", 1)):
            limit = _compiled(clause.limits.get(name, ""))
            at_least = _compiled(f"({clause.limits.get(name, '')}) >= {least}")
            if limit is not None and at_least is not None and self._space(clause).together([at_least]) is False:
                yield Unsound(
                    f"nothing fits into a cap of {clause.limits[name]} {name}", "Forbid it instead.", clause, "limits:"
                )

    def contradicted(self, permit: Clause) -> Iterator[Unsound]:
        """A permit that a forbid, or an unmet requirement, beats whenever it holds, wherever it stands."""
        condition = _compiled(permit.when)
        if condition is None or permit.id in self._never:
            return
        for other in self._pack.clauses:
            objects = other.effect in (Effect.FORBID, Effect.REQUIRE) and other.id not in self._never
            against = _compiled(other.when) if objects and _covers(other, permit) else None
            if against is None:
                continue
            forbids = other.effect is Effect.FORBID
            free = self._space(permit, other).together([condition], [against]) if forbids else None
            met = self._space(permit, other).together([condition, against]) if not forbids else None
            if (free if forbids else met) is False:
                how = "forbids whenever this permits" if forbids else "requires what cannot be while this permits"
                yield Unsound(f"this permit can never take effect: {other.id!r} {how}", f"{other.file}: {other.when}", permit)

    def beyond_every_ladder(self, clause: Clause) -> Iterator[Unsound]:
        """A clause about an action that no ladder of its scenarios holds. A scenario without a ladder says nothing."""
        if ANY in clause.scenarios or ANY in clause.actions:
            return
        ladders = [self._pack.scenarios[name].ladder or "" for name in clause.scenarios if name in self._pack.scenarios]
        if not ladders or not set(ladders) <= set(self._pack.ladders):
            return
        offered = {step.action for name in ladders for rung in self._pack.ladders[name].rungs for step in rung.steps}
        if not offered & set(clause.actions):
            scenarios, actions = ", ".join(clause.scenarios), ", ".join(clause.actions)
            message = f"unreachable: no ladder of {scenarios} offers {actions}"
            yield Unsound(message, f"Offered there: {', '.join(sorted(offered))}.", clause, "action:")

    def never_permitted(self) -> Iterator[Unsound]:
        permitted = {action for clause in self._pack.clauses if clause.effect is Effect.PERMIT for action in clause.actions}
        undoing = {spec.undo.tool for spec in self._writes.values() if spec.undo is not None}  # needs no permit: it restores
        for name in sorted(set(self._writes) - undoing):
            if not {name, ANY} & permitted:
                yield Unsound(f"no clause permits {name!r} anywhere: it can never be done", "Write a permit.", tool=name)

    def _space(self, *clauses: Clause) -> Satisfiable:
        """The fields these clauses may read: facts, and the arguments their actions have in common by type."""
        args: dict[str, Schema] = {}
        for clause in clauses:
            for action in self._writes if ANY in clause.actions else clause.actions:
                spec = self._writes.get(action)
                for name, schema in (spec.parameters.get("properties", {}) if spec is not None else {}).items():
                    args[name] = schema if args.get(name, schema) == schema else {}
        return Satisfiable({**self._facts, "args": args}, self._pack.parameters)


def _covers(other: Clause, permit: Clause) -> bool:
    """Whether `other` stands wherever `permit` does."""
    return _within(permit.scenarios, other.scenarios) and _within(permit.actions, other.actions)


def _within(inner: Sequence[str], outer: Sequence[str]) -> bool:
    return ANY in outer or set(inner) <= set(outer)


def _compiled(source: str) -> Expression | None:
    """None for what is no expression: another check's to report."""
    try:
        return Expression(source) if source.strip() else None
    except ConditionInvalid:
        return None
