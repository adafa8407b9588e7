"""How many tokens a prompt has, without a tokenizer: text is cut where Qwen's tokenizer would certainly cut it, and each piece
counts what such pieces have on average. Equal text gives equal tokens, so prompts that begin alike share blocks.

`keepword bench calibrate` reports the error against the real tokenizer.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from zlib import crc32

from agents.ports import Message

_PIECE: Final = re.compile(
    r"[^A-Za-z\d\u3400-\u9fff\r\n]?[A-Za-z]+|[\u3400-\u9fff]+|\d| ?[^\sA-Za-z\d\u3400-\u9fff]+[\r\n]*|\s+"
)
LETTERS_IN_ONE: Final = 8  # a word up to this length is one token
LETTERS_PER_FURTHER: Final = 6
HAN_PER_TOKEN: Final = 1.47
MARKS_PER_TOKEN: Final = 2
OPENING: Final = 3  # <|im_start|>, the role, a line feed
CLOSING: Final = 2  # <|im_end|>, a line feed
DEFAULT_SYSTEM: Final = 20  # what the chat template says when the caller brings no system message


@lru_cache(maxsize=65_536)
def token_ids(text: str) -> tuple[int, ...]:
    """A stand-in for each token of `text`; the same for the same text."""
    ids: list[int] = []
    for piece in _PIECE.findall(text):
        first = crc32(piece.encode())
        ids.extend(range(first, first + _tokens_in(piece)))
    return tuple(ids)


@lru_cache(maxsize=65_536)
def pieces(text: str) -> tuple[str, ...]:
    """`text` in as many pieces as it has tokens; joined, they are the text."""
    cut: list[str] = []
    for piece in _PIECE.findall(text):
        count, length = _tokens_in(piece), len(piece)
        cut.extend(piece[length * at // count : length * (at + 1) // count] for at in range(count))
    return tuple(cut)


def prompt_ids(messages: Sequence[Message]) -> list[int]:
    """The prompt under Qwen's chat template."""
    ids: list[int] = [] if messages and messages[0].role == "system" else [1] * (DEFAULT_SYSTEM + OPENING + CLOSING)
    for message in messages:
        ids.extend((2, crc32(message.role.encode()), 3))
        ids.extend(token_ids(message.content))
        ids.extend((4, 3))
    ids.extend((2, 5, 3))
    return ids


def block_hashes(ids: Sequence[int], block_size: int) -> tuple[int, ...]:
    """One hash for each full block, chained: it stands for the block and all before it."""
    hashes: list[int] = []
    before = 0
    for at in range(0, len(ids) - block_size + 1, block_size):
        before = hash((before, tuple(ids[at : at + block_size])))
        hashes.append(before)
    return tuple(hashes)


def _tokens_in(piece: str) -> int:
    letters = piece.strip()
    if not letters:
        return 1
    last = letters[-1]  # one mark may stand before a word's letters
    if last.isascii() and last.isalpha():
        return 1 if len(letters) <= LETTERS_IN_ONE else 2 + (len(letters) - LETTERS_IN_ONE - 1) // LETTERS_PER_FURTHER
    if last.isdigit():
        return 1
    if "\u3400" <= last <= "\u9fff":
        return max(1, round(len(letters) / HAN_PER_TOKEN))
    return -(-len(letters) // MARKS_PER_TOKEN)
