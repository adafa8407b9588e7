import random
from pathlib import Path

import numpy as np
import pytest

from retrieval.classify import LabelHead
from retrieval.embedding import Embedder
from retrieval.features import spelling_features
from retrieval.groups import fold_of_groups, near_duplicate_groups
from retrieval.normalise import normalise
from retrieval.passages import Passage
from retrieval.perturb import perturb
from retrieval.training import HeadReport, train_head


@pytest.fixture(scope="module")
def report(messages: tuple[Passage, ...], embedder: Embedder) -> HeadReport:
    return train_head("scenario", messages, embedder)


def most_likely(head: LabelHead, embedder: Embedder, text: str) -> str:
    clean = normalise(text)
    shares = head.probabilities(spelling_features(clean), embedder.embed([clean], "query")[0])
    return max(shares, key=lambda label: shares[label])


@pytest.mark.parametrize("text", ["my parcel is late", "", "🙂", "x" * 5000, "ＣＯＵＰＯＮ", "\ud800", "优惠券 coupon 123456"])
def test_probabilities_sum_to_one_for_any_text(text: str, report: HeadReport, embedder: Embedder) -> None:
    clean = normalise(text)
    shares = report.head.probabilities(spelling_features(clean), embedder.embed([clean], "query")[0])
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in shares.values())


@pytest.mark.parametrize(
    ("text", "scenario"),
    [
        ("the bowl I got is broken", "damaged"),
        ("THE PRACEL NEVER CAMEE", "missing"),
        ("my discuont cupon doesnt wrok", "coupon"),
        ("盘子是碎的", "damaged"),
        ("包裹還沒收到", "missing"),
        ("优惠卷不能用", "coupon"),
    ],
)
def test_a_new_message_gets_its_label_typing_errors_or_not(
    text: str, scenario: str, report: HeadReport, embedder: Embedder
) -> None:
    assert most_likely(report.head, embedder, text) == scenario


def test_a_saved_head_says_the_same(report: HeadReport, embedder: Embedder, tmp_path: Path) -> None:
    report.head.save(tmp_path / "head.npz")
    opened = LabelHead.open("scenario", tmp_path / "head.npz")
    vector = embedder.embed(["my parcel is late"], "query")[0]
    assert opened.probabilities(spelling_features("my parcel is late"), vector) == report.head.probabilities(
        spelling_features("my parcel is late"), vector
    )


def test_training_twice_gives_the_same_head(report: HeadReport, messages: tuple[Passage, ...], embedder: Embedder) -> None:
    np.testing.assert_array_equal(train_head("scenario", messages, embedder).head.of_vector, report.head.of_vector)


@pytest.mark.parametrize("labels", [1, 2])
def test_one_or_two_labels_are_enough(labels: int, messages: tuple[Passage, ...], embedder: Embedder) -> None:
    few = messages[: 10 * labels]
    head = train_head("scenario", few, embedder).head
    assert len(head.labels) == labels
    assert most_likely(head, embedder, few[0].text) == few[0].labels["scenario"]


def test_no_labelled_passage_is_an_error(messages: tuple[Passage, ...], embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="mood"):
        train_head("mood", messages, embedder)


def test_near_duplicates_share_a_group_and_a_fold(embedder: Embedder) -> None:
    texts = ["the mug arrived broken", "The mug arrived broken!", "how do I use a coupon", "where is my parcel"]
    groups = near_duplicate_groups(embedder.embed([normalise(text) for text in texts], "query"), cosine=0.95)
    assert groups[0] == groups[1]
    assert len(set(groups.tolist())) == 3
    folds = fold_of_groups(groups, np.zeros(4, dtype=np.int64), folds=2, seed=1)
    assert folds[0] == folds[1]
    assert len(set(folds.tolist())) == 2


def test_a_variant_differs_and_the_same_seed_makes_the_same_one() -> None:
    for text in ("my parcel is late", "我的包裹还没收到", "ok", "?"):
        assert perturb(text, random.Random(3)) == perturb(text, random.Random(3))
    assert perturb("my parcel is late", random.Random(3)) != "my parcel is late"
