"""Personal data of events, kept beside the chain: what is in it can be erased, and the chain still holds its salted digest."""

import copy
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

ERASED = "[erased]"
TEXT: Any = ERASED
FIELDS: Any = {}
PERSONAL: Mapping[str, Mapping[str, Any]] = {
    "session.started": {"customer_id": TEXT, "context": FIELDS},
    "turn.started": {"text": TEXT},
    "plan": {"plan.slots": FIELDS},
    "facts": {"facts": FIELDS},
    "verdicts": {"verdicts.*.proposal.args": FIELDS},
    "offer": {
        "offer.proposal.args": FIELDS,
        "offer.text": FIELDS,
        "offer.done": FIELDS,
        "offer.undone": FIELDS,
        "offer.then.*.proposal.args": FIELDS,
        "offer.then.*.done": FIELDS,
        "offer.then.*.undone": FIELDS,
    },
    "action": {"record.customer_id": TEXT, "record.proposal.args": FIELDS, "record.result": FIELDS},
    "operator.reply": {"text": TEXT},
    "reply.sentence": {"text": TEXT},
    "turn.done": {"text": TEXT},
    "error": {"message": TEXT},
    "tape": {"tape": FIELDS},
}
"""Event type -> path of a personal field -> what stands there once it is erased. `*` is every entry of a list."""

PATHS = {kind: [(path.split("."), erased) for path, erased in fields.items()] for kind, fields in PERSONAL.items()}


def split(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An event's fields as what the chain keeps, and path -> value of what is personal. `fields` is used up: its containers
    become the first's."""
    public, personal = dict(fields), dict[str, Any]()
    for path, erased in PATHS.get(str(fields["type"]), ()):
        for place, holder, name in list(_places(public, path, ())):
            personal[place] = holder[name]
            holder[name] = erased
    return public, personal


def merged(public: Mapping[str, Any], personal: Mapping[str, Any] | None) -> dict[str, Any]:
    """The event's fields again; erased ones hold their placeholder."""
    fields = copy.deepcopy(dict(public))
    for path, value in (personal or {}).items():
        for _, holder, name in _places(fields, path.split("."), ()):
            holder[name] = value
    return fields


def salted(body: str) -> tuple[str, str]:
    """A fresh salt and the digest of `body` under it, both hexadecimal."""
    salt = secrets.token_hex(16)
    return salt, digest(salt, body)


def digest(salt: str, body: str) -> str:
    return hashlib.sha256(f"{salt}\n{body}".encode()).hexdigest()


def read(body: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(body)
    return values


def _places(holder: Any, path: list[str], walked: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
    """(dotted place, the container, its key) for every match of `path`."""
    name, rest = path[0], path[1:]
    keys: list[Any] = list(range(len(holder))) if name == "*" else [int(name) if isinstance(holder, list) else name]
    for key in keys:
        if isinstance(holder, dict) and key not in holder:
            continue
        here = (*walked, str(key))
        if rest:
            yield from _places(holder[key], rest, here)
        else:
            yield ".".join(here), holder, key
