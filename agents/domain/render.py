"""Pack texts with their placeholders filled: `{order.id}`, `{args.amount_cents}`, `{amount}`.

A name ending in `_cents` is written as money. A value that is not there (or is None) makes the whole text unsayable.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agents.domain.money import Money
from agents.domain.words import Locale, Texts

PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[a-z_]+)?)\}")


def placeholders(text: str) -> tuple[str, ...]:
    """The dotted names in `text`, in order."""
    return tuple(PLACEHOLDER.findall(text))


def fill(text: str, values: Mapping[str, Any], currency: str) -> str | None:
    """`text` with every placeholder filled from nested `values`; None when one is missing."""
    found = {name: _lookup(name, values) for name in placeholders(text)}
    if any(value is None for value in found.values()):
        return None
    return PLACEHOLDER.sub(lambda match: _written(match.group(1), found[match.group(1)], currency), text)


def fill_all(texts: Texts, values: Mapping[str, Any], currency: str) -> dict[str, str] | None:
    """Every locale of `texts` filled, or None when one cannot be."""
    filled = {locale: fill(text, values, currency) for locale, text in texts.items()}
    if any(text is None for text in filled.values()):
        return None
    return {locale: text for locale, text in filled.items() if text is not None}


def joined(sentences: Sequence[str], locale: Locale) -> str:
    """Sentences as one text: Chinese sets no space between them."""
    return ("" if locale == "zh" else " ").join(sentences)


def _lookup(name: str, values: Mapping[str, Any]) -> Any:
    value: Any = values
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _written(name: str, value: Any, currency: str) -> str:
    if name.endswith("_cents") and type(value) is int:
        return str(Money(value, currency))
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return str(value)
