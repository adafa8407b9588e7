"""CEL expressions, compiled once. A fact that is not there, or an error while evaluating, is unknown: never a yes, never a no.

The Common Expression Language reads `false && unknown` as false and `true || unknown` as true (cel-spec, logical operators).
"""

import re
from dataclasses import dataclass
from typing import Any

import cel

from agents.domain.words import Facts

GIVEN = frozenset({"param", "args", "confirmed", "now"})  # names that are no facts: no tool can be asked for them
FUNCTIONS = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bytes", "timestamp"}
    | {"duration", "type", "dyn", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)  # the standard ones (cel-spec, list of standard definitions) this engine has
_STRING = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
_PARAMETER = re.compile(r"\bparam\b(?:\s*\.\s*([A-Za-z_]\w*)\b(?!\s*\())?")  # no name caught: `param` is used as a whole
_BINDS = re.compile(r"\.(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")


class ConditionInvalid(ValueError):
    """The expression does not parse. The message is the parser's, with its position."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No value: `missing` names the facts that are not there (or all of them, when a value had the wrong type)."""

    missing: tuple[str, ...]


class Scope:
    """The names an expression sees, prepared once for many evaluations: facts, `param`, and what a proposal adds.

    A value CEL cannot hold (a set, a lone surrogate) leaves its name out, so every condition on it is unknown.
    """

    def __init__(self, facts: Facts, **more: Any) -> None:
        values = {**{name: dict(fields) for name, fields in facts.items()}, **more}
        try:
            self.context = cel.Context(values)
        except Exception:  # one hostile value must not blind the other conditions
            values = {name: value for name, value in values.items() if _holdable(name, value)}
            self.context = cel.Context(values)
        self.names = frozenset(values)


class Expression:
    """A compiled expression. `names` are the root names it reads, sorted, without those a macro binds itself.

    `reads` and `parameters` are what a scope must hold for it, perhaps more but never less: root names, and the parameters by
    name (None: all of them)."""

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self._program = cel.compile(source)
        except ValueError as error:
            raise ConditionInvalid(str(error)) from error
        bound = set(_BINDS.findall(without_strings(source)))
        self.reads = frozenset(self._program.variables())
        self.names = tuple(sorted(name for name in self.reads if name not in bound))
        used = _PARAMETER.findall(source)  # in its strings and comments too: a name too many only costs time
        self.parameters = frozenset(used) if "" not in used else None

    def value(self, scope: Scope) -> Any:
        """The value, or Unknown. Raises nothing: hostile values make it unknown."""
        try:
            return self._program.execute(scope.context)
        except Exception:  # the engine raises KeyError, TypeError, RuntimeError, ValueError, OverflowError alike
            missing = tuple(name for name in self.names if name not in scope.names and name not in GIVEN)
            return Unknown(missing or self._facts)

    def truth(self, scope: Scope) -> bool | Unknown:
        """True or False; anything that is not a boolean is Unknown."""
        value = self.value(scope)
        return value if value is True or value is False or isinstance(value, Unknown) else Unknown(self._facts)

    def whole(self, scope: Scope) -> int | Unknown:
        """An integer; booleans, fractions and anything else are Unknown."""
        value = self.value(scope)
        if isinstance(value, Unknown):
            return value
        return value if isinstance(value, int) and not isinstance(value, bool) else Unknown(self._facts)

    def unknown_functions(self) -> tuple[str, ...]:
        """The functions it calls that there are not: the condition would be unknown for ever."""
        return tuple(name for name in self._program.functions() if name[:1].isalpha() and name not in FUNCTIONS)

    @property
    def _facts(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in GIVEN)


def without_strings(source: str) -> str:
    """`source` with every string literal emptied: what is left are names and operators."""
    return _STRING.sub('""', source)


def _holdable(name: str, value: Any) -> bool:
    try:
        cel.Context({name: value})
    except Exception:
        return False
    return True
