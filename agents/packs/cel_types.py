"""Do a pack's expressions fit together, by type? CEL's own checker over the fields of facts, parameters and arguments."""

import re
from collections.abc import Mapping
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]

Schema = Mapping[str, Any]
Type = cel.Type
BOOL, INT, DYN = cel.Type.BOOL, cel.Type.INT, cel.Type.DYN
_JSON = {
    "integer": INT,
    "number": cel.Type.DOUBLE,
    "string": cel.Type.STRING,
    "boolean": BOOL,
    "array": cel.Type.LIST,
    "object": cel.Type.MAP,
}
_PLAIN = {bool: BOOL, int: INT, float: cel.Type.DOUBLE, str: cel.Type.STRING, list: cel.Type.LIST, dict: cel.Type.MAP}
_HAS = re.compile(r"\bhas\s*\(\s*[\w.]+\s*\)")
_ZONED = re.compile(r"\.get[A-Z]\w*\(\s*[^)\s]")
_WHERE = re.compile(r"<input>:\d+:(?P<column>\d+): (?P<said>.+?)(?: \(in container ''\))?$", re.MULTILINE)


def type_of(schema: Schema) -> cel.Type:
    """The CEL type of a JSON Schema; anything goes where it is a union or says no type."""
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        kinds = {type(value) for value in values}
        return _PLAIN.get(kinds.pop(), DYN) if len(kinds) == 1 else DYN
    return _JSON.get(str(schema.get("type")), DYN)


class TypeCheck:
    """Checks expressions that read `facts` (fact -> field -> schema), `param` and, where there are any, `args`."""

    def __init__(self, facts: Mapping[str, Mapping[str, Schema]], parameters: Mapping[str, Any]) -> None:
        self._facts = {f"{fact}.{name}": type_of(schema) for fact, fields in facts.items() for name, schema in fields.items()}
        self._given = {f"param.{name}": _PLAIN.get(type(value), DYN) for name, value in parameters.items()}
        self._given |= {"confirmed": BOOL, "now": cel.Type.TIMESTAMP}
        self._environments: dict[tuple[tuple[str, str], ...], cel.Env] = {}

    def wrong(self, source: str, *, wanted: cel.Type, args: Mapping[str, Schema] | None = None) -> str | None:
        """Why `source` is no expression of type `wanted`, None when it is one (or nobody can tell before it runs)."""
        if _ZONED.search(source):
            return "get… takes no time zone here: `now` is in the pack's own"
        try:
            returned = self._environment(args or {}).compile(_HAS.sub(_held, source)).return_type()
        except RuntimeError as error:
            found = _WHERE.search(str(error))
            if found is None:
                return str(error).splitlines()[0]
            return f"{found['said']}, at column {int(found['column']) + 1}"
        if wanted == DYN or returned in (wanted, DYN):
            return None
        return f"it gives {returned.name().lower()}, not {wanted.name().lower()}"

    def _environment(self, args: Mapping[str, Schema]) -> cel.Env:
        key = tuple(sorted((name, repr(schema)) for name, schema in args.items()))
        if key not in self._environments:
            named = {f"args.{name}": type_of(schema) for name, schema in args.items()}
            self._environments[key] = cel.NewEnv(variables={**self._facts, **self._given, **named})
        return self._environments[key]


def _held(match: re.Match[str]) -> str:
    """`has(…)` asks whether a field is there: a boolean, of the same length so that columns stay."""
    return "true".ljust(len(match.group()))
