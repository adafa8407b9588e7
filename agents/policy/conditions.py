"""CEL expressions, compiled once. A fact that is not there, or an error while evaluating, is unknown: never a yes, never a no.

The Common Expression Language reads `false && unknown` as false and `true || unknown` as true (cel-spec, logical operators).
"""

from dataclasses import dataclass
from typing import Any

import cel

from agents.domain.words import Facts


class ConditionInvalid(ValueError):
    """The expression does not parse. The message is the parser's, with its position."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No value: `missing` names the facts that are not there (or all of them, when a value had the wrong type)."""

    missing: tuple[str, ...]


class Scope:
    """The names an expression sees, prepared once for many evaluations: facts, `param`, and what a proposal adds."""

    def __init__(self, facts: Facts, **more: Any) -> None:
        self.names = frozenset(facts) | frozenset(more)
        self.context = cel.Context({**{name: dict(fields) for name, fields in facts.items()}, **more})


class Expression:
    """A compiled expression. `names` are the root names it reads, sorted."""

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self._program = cel.compile(source)
        except ValueError as error:
            raise ConditionInvalid(str(error)) from error
        self.names = tuple(self._program.variables())
        self.functions = tuple(self._program.functions())

    def value(self, scope: Scope) -> Any:
        """The value, or Unknown. Raises nothing: hostile values make it unknown."""
        try:
            return self._program.execute(scope.context)
        except Exception:  # the engine raises KeyError, TypeError, RuntimeError, ValueError, OverflowError alike
            missing = tuple(name for name in self.names if name not in scope.names)
            return Unknown(missing or tuple(name for name in self.names if name not in ("param", "args", "confirmed")))

    def truth(self, scope: Scope) -> bool | Unknown:
        """True or False; anything that is not a boolean is Unknown."""
        value = self.value(scope)
        return value if isinstance(value, bool | Unknown) else Unknown(self.names)

    def whole(self, scope: Scope) -> int | Unknown:
        """An integer; booleans, fractions and anything else are Unknown."""
        value = self.value(scope)
        if isinstance(value, Unknown):
            return value
        return value if isinstance(value, int) and not isinstance(value, bool) else Unknown(self.names)
