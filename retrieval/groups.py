"""Folds for cross-validation in which near-duplicates stay together, so that no answer leaks into its own test."""

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import Vectors


def near_duplicate_groups(vectors: Vectors, *, cosine: float) -> NDArray[np.int64]:
    """A group number for each row of `vectors` [n, dimension, unit length]: rows that a chain of pairs at least `cosine`
    alike connects share one. Works for translations too when the embedder is multilingual."""
    parent = np.arange(len(vectors))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = int(parent[at])
        return at

    for start in range(0, len(vectors), 1024):
        alike = vectors[start : start + 1024] @ vectors.T >= cosine
        for row, column in zip(*np.nonzero(alike), strict=True):
            parent[root(start + int(row))] = root(int(column))
    return np.array([root(at) for at in range(len(vectors))], dtype=np.int64)


def fold_of_groups(groups: NDArray[np.int64], labels: NDArray[np.int64], *, folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each row: whole groups, and each label spread as evenly as that allows (largest groups first)."""
    generator = np.random.default_rng(seed)
    numbers, sizes = np.unique(groups, return_counts=True)
    order = np.lexsort((generator.random(len(numbers)), -sizes))
    filled = np.zeros((folds, int(labels.max(initial=0)) + 1))
    result = np.zeros(len(groups), dtype=np.int64)
    for number in numbers[order]:
        members = np.nonzero(groups == number)[0]
        counts = np.bincount(labels[members], minlength=filled.shape[1])
        fold = int(np.lexsort((filled.sum(axis=1), filled @ counts))[0])
        filled[fold] += counts
        result[members] = fold
    return result
