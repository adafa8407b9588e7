"""Tools that live elsewhere: an MCP server or a service with an OpenAPI document, called from a pack's own typed functions.

The function in tools.py stays the contract (its types make the schema, the grammar and the fact), so every rule holds as for a
tool of one's own. What comes back is checked against the function's type and never trusted further.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from agents.domain.errors import BadInput

Returned = TypeVar("Returned")


class RemoteBroke(Exception):
    """The other side failed, or answered what it must not: of a read nothing is known, of a write it is not known whether."""


@dataclass(frozen=True, slots=True)
class RemoteTool:
    """What the other side says of one of its tools; `schema` is the JSON Schema of its arguments."""

    name: str
    description: str
    schema: Mapping[str, Any]

    def check(self, args: Mapping[str, Any]) -> None:
        """Raises BadInput naming the first argument the other side would not take."""
        wrong = next(_validator(json.dumps(self.schema, sort_keys=True)).iter_errors(dict(args)), None)
        if wrong is not None:
            field = ".".join(map(str, wrong.absolute_path)) or self.name
            raise BadInput(f"{self.name}: {field}: {wrong.message}", field=field, hint="See the other side's schema.")


def typed(name: str, answer: Any, returns: type[Returned]) -> Returned:
    """`answer` as the type promised, by JSON's own types. Raises RemoteBroke naming the first field that is not."""
    try:
        return TypeAdapter(returns).validate_json(json.dumps(answer), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the answer"
        raise RemoteBroke(f"{name} answered with no {returns.__name__}: {field}: {first['msg']}") from error


@lru_cache(maxsize=256)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))
