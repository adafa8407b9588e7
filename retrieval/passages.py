"""Passages: the pieces of text an index holds, and the chunking of long texts into them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# Where a text may be cut, best first: blank line, line, the end of a sentence (either script), a comma, a space.
BREAKS = (r"\n\s*\n", r"\n", r"(?<=[。！？；])|(?<=[.!?;])\s", r"(?<=[，、])|(?<=,)\s", r"\s")


@dataclass(frozen=True, slots=True)
class Passage:
    """`id` is unique in its index. `kind` and `locale` are what a search may filter on; `labels` is what a classifier
    learns and what the caller needs to find its own object again.

    `embed_as` is the side the text takes in an asymmetric embedding: "query" for texts that look like the messages
    searched with (exemplars), "passage" for texts that answer them (clauses).
    """

    id: str
    text: str
    locale: str
    kind: str
    labels: Mapping[str, str] = field(default_factory=dict)
    embed_as: Literal["query", "passage"] = "passage"


def chunk(text: str, *, max_chars: int = 800, overlap_chars: int = 80) -> tuple[str, ...]:
    """Cut `text` into pieces of at most `max_chars` characters, at the best break there is in the second half of each.

    Consecutive pieces share up to `overlap_chars`, so that what stands across a cut is found too. A text that fits is
    returned whole; an empty one gives no piece. Raises ValueError when the overlap is not below half of the size.
    """
    if not 0 <= overlap_chars < max_chars // 2:
        raise ValueError(f"overlap_chars {overlap_chars} must be at least 0 and below half of max_chars {max_chars}")
    text = text.strip()
    pieces = []
    start = 0
    while len(text) - start > max_chars:
        end = _cut(text, start + max_chars // 2, start + max_chars)
        pieces.append(text[start:end].strip())
        start = end - overlap_chars
    if text[start:].strip():
        pieces.append(text[start:].strip())
    return tuple(pieces)


def _cut(text: str, low: int, high: int) -> int:
    """The last position in (low, high] at the best kind of break; `high` when there is none."""
    window = text[low:high]
    for pattern in BREAKS:
        ends = [match.end() for match in re.finditer(pattern, window) if match.end() > 0]
        if ends:
            return low + ends[-1]
    return high
