"""Label probabilities for a message: a linear model over its embedding and its spelling, calibrated. numpy only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.features import BUCKETS, Spelling

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelHead:
    """P(label | message) = softmax(vector @ of_vector + spelling @ of_spelling + bias), labels in order.

    `of_vector` [dimension, labels], `of_spelling` [BUCKETS, labels], `bias` [labels]; the temperature found on held-out
    folds is already divided in. `retrieval.training` makes one.
    """

    name: str
    labels: tuple[str, ...]
    of_vector: FloatArray
    of_spelling: FloatArray
    bias: FloatArray

    def probabilities(self, spelling: Spelling, vector: FloatArray) -> Mapping[str, float]:
        """Sums to 1 over `labels`. `spelling` is that of a normalised text, `vector` its "query" embedding [dimension]."""
        buckets, weights = spelling
        logits = vector @ self.of_vector + weights @ self.of_spelling[buckets] + self.bias
        shares = np.exp(logits.astype(np.float64) - logits.max())
        shares /= shares.sum()
        return dict(zip(self.labels, shares.tolist(), strict=True))

    def save(self, path: Path) -> None:
        np.savez(
            path,
            labels=np.array(self.labels, dtype=np.str_),
            of_vector=self.of_vector,
            of_spelling=self.of_spelling,
            bias=self.bias,
        )

    @classmethod
    def open(cls, name: str, path: Path) -> "LabelHead":
        """Raises OSError, KeyError or ValueError when the file is not whole."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            labels = tuple(str(label) for label in data["labels"])
            head = cls(name, labels, data["of_vector"], data["of_spelling"], data["bias"])
        if head.of_spelling.shape != (BUCKETS, len(labels)) or head.bias.shape != (len(labels),):
            raise ValueError(f"{path.name} was made for other features")
        return head
