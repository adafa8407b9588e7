"""Vectors kept on disk by the hash of their text, so that rebuilding an index embeds only what is new."""

import hashlib
import os
import uuid
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import Embedder, Kind, Vectors

BATCH = 64
Progress = Callable[[str, int, int], None]
"""Called with the stage's name, how many steps are done, and how many there are."""


class CachedEmbedder:
    """An Embedder over another one that remembers vectors in `folder`, one file an embedder.

    `embed` reads from memory what is known; `save` writes the file, keeping only what was asked for since it was loaded
    (so the file does not grow with texts nobody has any more). A missing or damaged file only means work.
    """

    def __init__(self, inner: Embedder, folder: Path, progress: Progress | None = None) -> None:
        self.name = inner.name
        self.dimension = inner.dimension
        self._inner = inner
        self._progress = progress
        self._path = folder / f"{hashlib.sha256(inner.name.encode()).hexdigest()[:16]}.npz"
        self._known = _load(self._path, inner.dimension)
        self._used: dict[bytes, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        keys = [hashlib.sha256(f"{kind}\0{text}".encode("utf-8", "replace")).digest()[:16] for text in texts]
        todo = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        # like lengths together: a batch costs its tokens, and progress then moves evenly enough
        order = sorted(todo, key=lambda key: len(todo[key]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            vectors = self._inner.embed([todo[key] for key in batch], kind)
            self._known.update(zip(batch, vectors, strict=True))
            if self._progress:
                self._progress("embed", start + len(batch), len(order))
        self._used.update((key, self._known[key]) for key in keys)
        if not keys:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([self._known[key] for key in keys])

    def save(self) -> None:
        """Write atomically. Raises OSError when the folder cannot be written."""
        if not self._used:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f".{self._path.stem}-{uuid.uuid4().hex}.npz")
        keys = np.frombuffer(b"".join(self._used), dtype=np.uint8).reshape(-1, 16)
        try:
            np.savez(beside, keys=keys, vectors=np.stack(list(self._used.values())))
            os.replace(beside, self._path)
        finally:
            beside.unlink(missing_ok=True)


def _load(path: Path, dimension: int) -> dict[bytes, NDArray[np.float32]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            keys, vectors = data["keys"], data["vectors"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    if vectors.shape != (len(keys), dimension) or vectors.dtype != np.float32:
        return {}
    return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}
