"""Can these conditions hold together? Boundary values of every field they read, tried out one by one.

A condition made of comparisons changes its truth only at the constants it names, so a few values around each constant, and as
many between two as there are fields, stand for all others (boundary value analysis; Myers, The Art of Software Testing).
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from math import prod
from typing import Any

from agents.packs.cel_types import Schema
from agents.policy.conditions import Expression, Scope, without_strings

TRIES = 20_000
_FIELD = re.compile(r"(?<![\w.])([A-Za-z_]\w*)\.([A-Za-z_]\w*)\b(?!\s*\()")
_TEXT = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?![\w.])")
_COMPUTES = re.compile(r"[+*/%?]|(?<=[\w)\]])\s*-|[A-Za-z_]\s*\(")  # arithmetic and calls: boundaries lie elsewhere
_OTHER = "\u2063something else"


class Satisfiable:
    """Over a pack's `fields` (fact or args -> field -> schema) and its parameters as they are."""

    def __init__(self, fields: Mapping[str, Mapping[str, Schema]], parameters: Mapping[str, Any]) -> None:
        self._fields, self._parameters = fields, parameters

    def together(self, holding: Sequence[Expression], failing: Sequence[Expression] = ()) -> bool | None:
        """Whether all of `holding` can be true while all of `failing` are false; None when that cannot be told."""
        every = (*holding, *failing)
        pools = self._pools([expression.source for expression in every])
        if pools is None:
            return None
        exhaustive = prod(len(pool) for pool in pools.values()) <= TRIES
        for values in _assignments(pools, exhaustive=exhaustive):
            scope = self._scope(dict(zip(pools, values, strict=True)))
            if all(each.truth(scope) is True for each in holding) and all(each.truth(scope) is False for each in failing):
                return True
        simple = not any(_COMPUTES.search(without_strings(expression.source)) for expression in every)
        return False if exhaustive and simple else None

    def _pools(self, sources: Sequence[str]) -> dict[tuple[str, str], list[Any]] | None:
        """The values to try for every field the sources read; None when one has a type that cannot be tried out."""
        if any(re.search(r"\bnow\b", without_strings(source)) for source in sources):
            return None
        read = dict.fromkeys(place for source in sources for place in _FIELD.findall(without_strings(source)))
        if any(re.search(r"\bconfirmed\b", without_strings(source)) for source in sources):
            read["", "confirmed"] = None
        constants = [value for source in sources for value in self._constants(source)]
        numbers = _around([value for value in constants if isinstance(value, int)], len(read))
        texts = list(dict.fromkeys([*(value for value in constants if isinstance(value, str)), _OTHER]))
        pools: dict[tuple[str, str], list[Any]] = {}
        for root, name in read:
            if root == "param":
                continue
            pool = _values({"type": "boolean"} if not root else self._fields.get(root, {}).get(name, {}), numbers, texts)
            if pool is None:
                return None
            pools[root, name] = pool
        return pools

    def _constants(self, source: str) -> list[Any]:
        texts = [one or other for one, other in _TEXT.findall(source)]
        numbers = [int(number) for number in _NUMBER.findall(without_strings(source))]
        used = [self._parameters.get(name) for root, name in _FIELD.findall(without_strings(source)) if root == "param"]
        flat = [each for value in used for each in (value if isinstance(value, list) else [value])]
        return [*texts, *numbers, *(value for value in flat if isinstance(value, int | str) and not isinstance(value, bool))]

    def _scope(self, values: Mapping[tuple[str, str], Any]) -> Scope:
        facts: dict[str, dict[str, Any]] = {}
        for (root, name), value in values.items():
            if root:
                facts.setdefault(root, {})[name] = value
        given = {"confirmed": values["", "confirmed"]} if ("", "confirmed") in values else {}
        return Scope(facts, param=dict(self._parameters), **given)


def _values(schema: Schema, numbers: list[int], texts: list[str]) -> list[Any] | None:
    if "enum" in schema:
        return list(schema["enum"])
    if "const" in schema:
        return [schema["const"]]
    pools: Mapping[str, list[Any]] = {"boolean": [True, False], "integer": numbers, "string": texts}
    return pools.get(str(schema.get("type")))


def _around(constants: Sequence[int], fields: int) -> list[int]:
    """Every constant, its neighbours, and up to `fields` values in each gap."""
    edges = sorted({near for constant in (0, *constants) for near in (constant - 1, constant, constant + 1)})
    between = [
        low + step * (high - low) // (fields + 1)
        for low, high in pairwise(edges)
        for step in range(1, fields + 1)
        if high - low > 1
    ]
    beyond = [edges[-1] + step for step in range(1, fields + 1)] + [edges[0] - step for step in range(1, fields + 1)]
    return sorted({*edges, *between, *beyond})


def _assignments(pools: Mapping[tuple[str, str], list[Any]], *, exhaustive: bool) -> Iterator[Sequence[Any]]:
    """All of them, those that differ in many fields first; or `TRIES` at random, the same every time."""
    rng = random.Random(0)
    shuffled = [rng.sample(pool, len(pool)) for pool in pools.values()]
    for _ in range(min(TRIES, 200) if exhaustive else TRIES):
        yield [rng.choice(pool) for pool in shuffled]
    if exhaustive:
        yield from product(*shuffled)
