"""Slots from a message: only what stands there. A value that does not occur in the conversation cannot get into a plan."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from agents.domain.words import Slot

_CHINESE_DIGITS = str.maketrans("零〇一二三四五六七八九", "00123456789")
_CHINESE_RUN = re.compile(r"[零〇一二三四五六七八九]{4,}")  # four and more: an id spelled out, never a word like 一点
_SPACED_RUN = re.compile(r"(?<![\d.,])\d(?:[ \u00a0]\d){3,}(?![\d.,])")


def normalise(text: str) -> str:
    """Full-width forms folded, ids spelled in Chinese digits or with spaces between digits written plainly."""
    folded = unicodedata.normalize("NFKC", text)
    folded = _CHINESE_RUN.sub(lambda run: run.group().translate(_CHINESE_DIGITS), folded)
    return _SPACED_RUN.sub(lambda run: re.sub(r"\s", "", run.group()), folded)


def candidates(text: str, slot: Slot) -> tuple[str, ...]:
    """Every value of `slot` that stands in `text`, normalised by its template, in order, without repeats."""
    found = (slot.template.format(**match.groupdict()) for match in re.finditer(slot.pattern, normalise(text)))
    return tuple(dict.fromkeys(found))


def extract(text: str, slots: Iterable[Slot]) -> dict[str, tuple[str, ...]]:
    """Slot name -> its candidates in `text`; slots without any are left out."""
    found = {slot.name: candidates(text, slot) for slot in slots}
    return {name: values for name, values in found.items() if values}


def ungrounded(slots: Mapping[str, str], conversation: Iterable[str], definitions: Mapping[str, Slot]) -> tuple[str, ...]:
    """Names of slots whose value occurs in no line of the conversation."""
    lines = tuple(conversation)
    return tuple(
        name for name, value in slots.items() if not any(value in candidates(line, definitions[name]) for line in lines)
    )
