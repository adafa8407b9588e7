"""Learning a LabelHead from labelled passages: multinomial logistic regression, calibrated on held-out folds.

Needs scikit-learn; using a trained head does not.
"""

import random
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from scipy.sparse import csr_matrix, hstack, vstack  # type: ignore[import-untyped]
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from retrieval.classify import LabelHead
from retrieval.embedding import Embedder, Vectors
from retrieval.embedding_cache import Progress
from retrieval.features import BUCKETS, spelling_features
from retrieval.groups import fold_of_groups, near_duplicate_groups
from retrieval.normalise import normalise
from retrieval.passages import Passage
from retrieval.perturb import perturb

FOLDS = 5
SEED = 20
NEAR_DUPLICATE_COSINE = 0.95
VECTOR_SCALE = 8.0
"""Cosines of E5 crowd into 0.75 to 1: centred vectors are short, and regularisation would keep them from counting."""
SPELLING_SCALE = 4.0
INVERSE_REGULARISATION = 0.5
MISSPELT_EVERY = 3
"""One text in three is learnt from misspelt too, another one in three is tested with misspelt. More copies measured no
better, and embedding them is what a build spends its time on."""
UNSEEN_LOGIT = -20.0

IntArray = NDArray[np.int64]
Logits = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeadReport:
    """A trained head and what cross-validation says of it: accuracy, macro F1, calibration error, accuracy by locale.
    The figures under "misspelt" are on copies with typing errors, whose originals no training fold saw either."""

    head: LabelHead
    summary: Mapping[str, Any]


def train_head(name: str, passages: Sequence[Passage], embedder: Embedder, progress: Progress | None = None) -> HeadReport:
    """Learn P(label `name` | text) from the passages that carry it. Raises ValueError when none does."""
    passages = [passage for passage in passages if name in passage.labels]
    if not passages:
        raise ValueError(f'no passage carries the label "{name}"')
    data = _Examples(name, passages, embedder)
    logits, misspelt_logits = _held_out(data, progress)
    misspelt_target = data.target[data.tested]
    temperature = _temperature(np.vstack([logits, misspelt_logits]), np.concatenate([data.target, misspelt_target]))
    model = _Model(data, np.ones(len(passages), dtype=np.bool_))
    locales = [passage.locale for passage in passages]
    summary = {
        "examples": len(passages),
        "groups": len(np.unique(data.groups)),
        "temperature": round(temperature, 3),
        **_measures(logits / temperature, data.target, locales),
        "misspelt": _measures(misspelt_logits / temperature, misspelt_target, [locales[at] for at in data.tested]),
    }
    return HeadReport(model.head(name, temperature), summary)


class _Examples:
    """The training set: each text clean, those at `learnt` misspelt for learning, those at `tested` misspelt for testing.

    Which ones, and how they are misspelt, depends on the text alone: heads over the same texts share their embeddings."""

    def __init__(self, name: str, passages: Sequence[Passage], embedder: Embedder) -> None:
        texts = [passage.text for passage in passages]
        named = [passage.labels[name] for passage in passages]
        self.labels = tuple(sorted(set(named)))
        self.target: IntArray = np.array([self.labels.index(label) for label in named], dtype=np.int64)
        vectors = embedder.embed([normalise(text) for text in texts], "query")
        self.mean = vectors.mean(axis=0)
        self.groups = near_duplicate_groups(vectors, cosine=NEAR_DUPLICATE_COSINE)
        self.fold = fold_of_groups(self.groups, self.target, folds=FOLDS, seed=SEED)
        self.clean = self._features(texts, embedder)
        turn = np.array([zlib.crc32(text.encode("utf-8", "replace")) % MISSPELT_EVERY for text in texts])
        self.learnt, self.tested = np.nonzero(turn == 0)[0], np.nonzero(turn == 1)[0]
        self.learnt_misspelt = self._features([_misspelt(texts[at]) for at in self.learnt], embedder)
        self.tested_misspelt = self._features([_misspelt(texts[at]) for at in self.tested], embedder)

    def _features(self, texts: Sequence[str], embedder: Embedder) -> csr_matrix:
        """[texts, dimension + BUCKETS]: the centred embedding, then the spelling, each scaled."""
        clean = [normalise(text) for text in texts]
        vectors: Vectors = (embedder.embed(clean, "query") - self.mean) * VECTOR_SCALE
        if not clean:
            return csr_matrix((0, len(self.mean) + BUCKETS), dtype=np.float32)
        rows = [spelling_features(text) for text in clean]
        ends = np.cumsum([0, *(len(buckets) for buckets, _ in rows)])
        buckets = np.concatenate([buckets for buckets, _ in rows])
        weights = np.concatenate([weights for _, weights in rows]) * SPELLING_SCALE
        spelling = csr_matrix((weights, buckets, ends), shape=(len(clean), BUCKETS))
        features: csr_matrix = hstack([csr_matrix(vectors), spelling], format="csr", dtype=np.float32)
        return features


class _Model:
    """A logistic regression over the examples `chosen`, with columns for labels it has not seen."""

    def __init__(self, data: _Examples, chosen: NDArray[np.bool_]) -> None:
        self._data = data
        learnt = chosen[data.learnt]
        features = vstack([data.clean[chosen], data.learnt_misspelt[learnt]], format="csr")
        target = np.concatenate([data.target[chosen], data.target[data.learnt[learnt]]])
        self.weights = np.zeros((features.shape[1], len(data.labels)))
        self.bias = np.full(len(data.labels), UNSEEN_LOGIT)
        seen = np.unique(target)
        if len(seen) == 1:
            self.bias[seen] = 0.0
            return
        regression = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=300, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the folds judge the fit, not the optimiser's tolerance
            regression.fit(features, target)
        if len(seen) == 2:  # one row of weights stands for both labels
            self.weights[:, seen[1]], self.bias[seen] = regression.coef_[0], [0.0, regression.intercept_[0]]
        else:
            self.weights[:, seen], self.bias[seen] = regression.coef_.T, regression.intercept_

    def logits(self, features: csr_matrix) -> Logits:
        return np.asarray(features @ self.weights + self.bias, dtype=np.float64)

    def head(self, name: str, temperature: float) -> LabelHead:
        """Centring, scales and temperature folded into the weights, so that inference is two small products."""
        split = len(self._data.mean)
        of_vector = self.weights[:split] * VECTOR_SCALE / temperature
        bias = self.bias / temperature - self._data.mean @ of_vector
        of_spelling = self.weights[split:] * SPELLING_SCALE / temperature
        arrays = (np.ascontiguousarray(array, dtype=np.float32) for array in (of_vector, of_spelling, bias))
        return LabelHead(name, self._data.labels, *arrays)


def _held_out(data: _Examples, progress: Progress | None) -> tuple[Logits, Logits]:
    """Logits of every example, clean and misspelt, from a model that saw neither it nor its near-duplicates."""
    clean = np.zeros((len(data.target), len(data.labels)))
    misspelt = np.zeros((len(data.tested), len(data.labels)))
    for fold in range(FOLDS):
        test = data.fold == fold
        if test.any() and not test.all():
            model = _Model(data, ~test)
            clean[test] = model.logits(data.clean[test])
            misspelt[test[data.tested]] = model.logits(data.tested_misspelt[test[data.tested]])
        if progress:
            progress("cross-validate", fold + 1, FOLDS)
    return clean, misspelt


def _misspelt(text: str) -> str:
    return perturb(text, random.Random(f"{SEED} {text}"))


def _softmax(logits: Logits) -> Logits:
    shares: Logits = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _temperature(logits: Logits, target: IntArray) -> float:
    """The divisor under which held-out logits are most likely (Guo et al. 2017), between 1/8 and 8."""

    def loss(log_temperature: float) -> float:
        shares = _softmax(logits / np.exp(log_temperature))
        return float(-np.log(shares[np.arange(len(target)), target] + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-np.log(8), np.log(8)), method="bounded").x))


def _measures(logits: Logits, target: IntArray, locales: Sequence[str]) -> dict[str, Any]:
    if not len(target):
        return {}
    shares = _softmax(logits)
    best = shares.argmax(axis=1)
    right = best == target
    top_three = (np.argsort(-shares, axis=1)[:, :3] == target[:, None]).any(axis=1)
    f1 = [
        2 * (right & (target == label)).sum() / ((best == label).sum() + (target == label).sum()) for label in np.unique(target)
    ]
    where = np.array(locales)
    bins = np.minimum((shares.max(axis=1) * 10).astype(int), 9)
    gaps = [
        (bins == number).mean() * abs(shares.max(axis=1)[bins == number].mean() - right[bins == number].mean())
        for number in np.unique(bins)
    ]
    figures = {
        "accuracy": right.mean(),
        "top_three": top_three.mean(),
        "macro_f1": np.mean(f1),
        "calibration_error": sum(gaps),
        "log_loss": -np.log(shares[np.arange(len(target)), target] + 1e-12).mean(),
    }
    rounded: dict[str, Any] = {name: round(float(value), 4) for name, value in figures.items()}
    rounded["accuracy_by_locale"] = {name: round(float(right[where == name].mean()), 4) for name in sorted(set(locales))}
    return rounded
