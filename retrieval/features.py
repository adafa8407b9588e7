"""Spelling features: hashed character and word pieces of a text, which survive typing errors a tokenizer does not.

Feature hashing after Weinberger et al. 2009 (unsigned; collisions are rare at this size).
"""

import itertools
import re
import zlib
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from retrieval.lexical import tokenise

BUCKETS = 16384
Spelling = tuple[NDArray[np.int64], NDArray[np.float32]]
_WORDS = re.compile(r"[^\W_]+")
_HAN = re.compile(r"[\u3400-\u9fff]")


def spelling_pieces(text: str) -> list[str]:
    """Terms, neighbouring terms, and 3- and 4-grams of the characters of each Latin word, its borders marked."""
    terms = [term for term in tokenise(text) if not (len(term) > 1 and _HAN.match(term))]
    pieces = [f"t{term}" for term in terms]
    pieces.extend(f"b{first} {second}" for first, second in itertools.pairwise(terms))
    for word in _WORDS.findall(text):
        if not _HAN.search(word):
            marked = f"<{word}>"
            pieces.extend(f"c{marked[i : i + size]}" for size in (3, 4) for i in range(len(marked) - size + 1))
    return pieces


def spelling_features(text: str) -> Spelling:
    """The buckets `text` falls into and their weights, 1 + ln(count), scaled to unit length. Both [pieces], may be empty."""
    counts = Counter(zlib.crc32(piece.encode("utf-8", "replace")) % BUCKETS for piece in spelling_pieces(text))
    buckets = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts))
    weights = 1 + np.log(np.fromiter(counts.values(), dtype=np.float32, count=len(counts)))
    return buckets, (weights / max(float(np.linalg.norm(weights)), 1e-9)).astype(np.float32)
