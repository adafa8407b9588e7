"""The vector index: FAISS over unit vectors, exact while that is cheap, a graph above, mapped from disk, on a GPU if there."""

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import Vectors

EXACT_LIMIT = 50_000
"""Up to here a full scan (384 floats a passage) takes a few milliseconds; above, HNSW answers from a graph."""
HNSW_NEIGHBOURS = 32
HNSW_BUILD_BREADTH = 200
HNSW_SEARCH_BREADTH = 128
GPU_RESULTS_LIMIT = 2048


class VectorIndex:
    """Inner products of a query with every stored vector. Immutable once built; FAISS searches run in parallel safely."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: Vectors, *, exact_limit: int = EXACT_LIMIT) -> "VectorIndex":
        """`vectors`: [n, dimension], unit length."""
        count, dimension = vectors.shape
        if count <= exact_limit:
            index: faiss.Index = faiss.IndexFlatIP(dimension)
        else:
            index = faiss.IndexHNSWFlat(dimension, HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = HNSW_BUILD_BREADTH
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return cls(index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, vector: NDArray[np.float32], limit: int, *, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The positions and cosines of the `limit` nearest to `vector` [dimension], best first; fewer when there are fewer.
        `among` restricts the search to these positions."""
        limit = min(limit, len(self) if among is None else len(among))
        if limit <= 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        selector = None if among is None else _selector(among)
        if isinstance(self._index, faiss.IndexHNSW):
            breadth = max(HNSW_SEARCH_BREADTH, 2 * limit)
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=breadth)  # type: ignore[attr-defined]  # not in the stubs
        else:
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, positions = self._index.search(vector[None, :], limit, params=parameters)
        found = positions[0] >= 0  # a graph search may find fewer than asked
        return positions[0][found], scores[0][found]

    def cosines(self, vector: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """How near the vectors at `positions` are to `vector` [dimension], in their order."""
        found: NDArray[np.float32] = self._index.reconstruct_batch(positions) @ vector
        return found

    def vectors(self) -> Vectors:
        """All stored vectors, [n, dimension], a copy."""
        return np.asarray(self._index.reconstruct_n(0, len(self)), dtype=np.float32)

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    @classmethod
    def open(cls, path: Path) -> "VectorIndex":
        """Map the index from `path`: its vectors stay in the page cache, shared by all replicas of the machine.

        IO_FLAG_MMAP maps inverted lists only; IO_FLAG_MMAP_IFC maps flat and HNSW storage too. Raises RuntimeError
        (FAISS's own) when the file is cut or not an index.
        """
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))


def _selector(among: NDArray[np.int64]) -> faiss.IDSelector:
    """A run of positions is told by its ends, which FAISS checks and builds many times faster than a set."""
    first, last = int(among[0]), int(among[-1])
    if last - first + 1 == len(among) and bool((np.diff(among) == 1).all()):
        return faiss.IDSelectorRange(first, last + 1)
    return faiss.IDSelectorBatch(among)


def gpu_count() -> int:
    """GPUs that FAISS can use: 0 with faiss-cpu."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def to_gpu(index: VectorIndex, device: int = 0) -> VectorIndex:
    """The same index on GPU `device`, copied into its memory; `index` itself where that is not possible: FAISS was
    built without GPU support, there is no such device, or the index is a graph (FAISS has no HNSW on the GPU).

    Written from FAISS's documentation and type-checked; the machine it was written on has no GPU.
    """
    if device >= gpu_count() or isinstance(index._index, faiss.IndexHNSW):
        return index
    resources = faiss.StandardGpuResources()
    return _OnGpu(faiss.index_cpu_to_gpu(resources, device, index._index), resources)


class _OnGpu(VectorIndex):
    """Holds the GPU's resources as long as the index lives. FAISS takes no selector on a GPU and at most 2,048 results:
    a filtered search asks for that many and drops what was not meant."""

    def __init__(self, index: faiss.Index, resources: object) -> None:
        super().__init__(index)
        self._resources = resources

    def search(
        self, vector: NDArray[np.float32], limit: int, *, among: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        wanted = min(GPU_RESULTS_LIMIT, len(self), limit if among is None else len(self))
        scores, positions = self._index.search(vector[None, :], wanted)
        keep = positions[0] >= 0 if among is None else np.isin(positions[0], among)
        return positions[0][keep][:limit], scores[0][keep][:limit]
