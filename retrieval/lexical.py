"""The lexical index: BM25 over English words and Chinese character pairs, memory-mapped from disk."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import bm25s  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

_WORDS = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[\u3400-\u9fff]+|[^\W\d_a-z\u3400-\u9fff]+")
_HAN = re.compile(r"[\u3400-\u9fff]")
_SUFFIXES = (("sses", "ss"), ("ies", "y"), ("ing", ""), ("edly", ""), ("ed", ""), ("ly", ""), ("es", ""), ("s", ""))


def tokenise(text: str) -> list[str]:
    """Terms of a normalised text: English words lightly stemmed, Chinese single characters and neighbouring pairs."""
    terms: list[str] = []
    for word in _WORDS.findall(text):
        if _HAN.match(word):
            terms.extend(word)
            terms.extend(word[i : i + 2] for i in range(len(word) - 1))
        else:
            terms.append(_stem(word))
    return terms


def _stem(word: str) -> str:
    """Take one ending off, so that "arrived", "arrives" and "arriving" meet. Stems are not words: both sides get the same."""
    word = word.removesuffix("'s")
    if len(word) > 3 and not word.endswith("ss"):
        for suffix, instead in _SUFFIXES:
            if word.endswith(suffix) and len(word) - len(suffix) >= 3:
                word = word[: len(word) - len(suffix)] + instead
                break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] != "s":
        word = word[:-1]  # cancelled, shipped
    return word.removesuffix("e") if len(word) > 3 else word


class LexicalIndex:
    """BM25 against every passage, in the order the passages were given. Immutable; safe to read from many threads."""

    def __init__(self, bm25: bm25s.BM25 | None, vocabulary: dict[str, int], size: int) -> None:
        self._bm25 = bm25
        self._vocabulary = vocabulary
        self._size = size
        # Lucene's BM25 of a term that one passage of average length has once, k1 = 1.5
        self._rare = math.log(1 + (size - 0.5) / 1.5) / 2.5

    @classmethod
    def build(cls, texts: Sequence[str]) -> "LexicalIndex":
        vocabulary: dict[str, int] = {}
        rows = [[vocabulary.setdefault(term, len(vocabulary)) for term in tokenise(text)] for text in texts]
        if not vocabulary:
            return cls(None, {}, len(texts))
        bm25 = bm25s.BM25(backend="numpy", csc_backend="numpy")
        bm25.index((rows, vocabulary), show_progress=False, create_empty_token=False)
        return cls(bm25, vocabulary, len(texts))

    def scores(self, text: str) -> NDArray[np.float32]:
        """How much of the normalised `text` each passage matches, [passages], 0 to 1: BM25 over the most that any
        passage could reach. A term nobody has counts as a rare one, so that matching only "is there some" of a question
        is worth little, and so is a misspelt question as a whole."""
        terms = set(tokenise(text))
        known = sorted(self._vocabulary[term] for term in terms if term in self._vocabulary)
        if not known or self._bm25 is None:
            return np.zeros(self._size, dtype=np.float32)
        data, ends = self._bm25.scores["data"], self._bm25.scores["indptr"]
        best = sum(float(data[ends[term] : ends[term + 1]].max()) for term in known)
        best += (len(terms) - len(known)) * self._rare
        return np.asarray(self._bm25.get_scores_from_ids(known) / best, dtype=np.float32)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if self._bm25 is not None:
            self._bm25.save(str(folder), show_progress=False)

    @classmethod
    def open(cls, folder: Path, size: int) -> "LexicalIndex":
        """Map the index of `size` passages from `folder`, which is empty when no passage has a term.

        Raises OSError or ValueError when it is not whole."""
        if not any(folder.iterdir()):
            return cls(None, {}, size)
        bm25 = bm25s.BM25.load(str(folder), mmap=True, show_progress=False)
        bm25.scores = {name: np.asarray(mapped) for name, mapped in bm25.scores.items()}  # the same memory, sliced faster
        return cls(bm25, bm25.vocab_dict, size)
