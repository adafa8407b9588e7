"""Is this output what was asked for? The one place that says so, for the real engine and the scripted model."""

import json
import re
from functools import lru_cache
from typing import Any, Final

import jsonschema

from agents.domain.errors import BadInput, EmptyOutput, InvalidOutput, TruncatedOutput
from agents.ports import Structure

TRUNCATED: Final = "length"


def check_structure(structure: Structure) -> None:
    """Raises BadInput when `structure` itself makes no sense."""
    try:
        matcher(structure)
    except (ValueError, re.error, jsonschema.SchemaError) as error:
        raise BadInput(f"the requested {structure.kind} structure is not valid: {error}", field="structure") from error


def check_output(text: str, finish_reason: str, structure: Structure | None) -> None:
    """Raises EmptyOutput, TruncatedOutput or InvalidOutput unless `text` is an answer to `structure`.
    Free text (no structure) may stop at its token limit; it may not be empty."""
    if not text.strip():
        raise EmptyOutput(f"the engine returned nothing (finish reason {finish_reason})")
    if structure is None:
        return
    wrong = matcher(structure).wrong(text)
    if wrong is None:
        return
    if finish_reason == TRUNCATED:
        raise TruncatedOutput(f"the {structure.kind} output was cut after {len(text)} characters", hint="Raise max_tokens.")
    raise InvalidOutput(f"the output is not the requested {structure.kind}: {wrong}")


class Matcher:
    """Holds one structure ready to be compared with outputs."""

    def __init__(self, structure: Structure) -> None:
        self._kind = structure.kind
        self._pattern: re.Pattern[str] | None = None
        self._choices: frozenset[str] = frozenset()
        self._schema: Any = None
        if structure.kind == "regex":
            self._pattern = re.compile(structure.spec)
        elif structure.kind == "choice":
            choices = json.loads(structure.spec)
            if not isinstance(choices, list) or not choices or not all(isinstance(choice, str) for choice in choices):
                raise ValueError("a choice is a non-empty JSON array of strings")
            self._choices = frozenset(choices)
        else:
            schema = json.loads(structure.spec)
            jsonschema.Draft202012Validator.check_schema(schema)
            self._schema = jsonschema.Draft202012Validator(schema)

    def wrong(self, text: str) -> str | None:
        """Why `text` does not match, or None when it does."""
        if self._pattern is not None:
            return None if self._pattern.fullmatch(text) else f"it does not match {self._pattern.pattern!r}"
        if self._schema is None:
            return None if text in self._choices else "it is none of the choices"
        try:
            value = json.loads(text)
        except ValueError as error:
            return f"it is not JSON ({error})"
        mistake = next(iter(self._schema.iter_errors(value)), None)
        return None if mistake is None else f"{mistake.json_path}: {mistake.message}"


@lru_cache(maxsize=1024)
def matcher(structure: Structure) -> Matcher:
    """The matcher of `structure`, cached. Raises ValueError, re.error or jsonschema.SchemaError when it is not valid."""
    return Matcher(structure)
