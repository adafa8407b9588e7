import pytest

from retrieval.passages import chunk


def test_a_text_that_fits_is_one_piece() -> None:
    assert chunk("Returns are free.", max_chars=100, overlap_chars=10) == ("Returns are free.",)


def test_an_empty_text_gives_no_piece() -> None:
    assert chunk(" \n ") == ()


def test_every_piece_fits_and_together_they_hold_every_sentence() -> None:
    sentences = [f"Sentence number {at} says something about returns." for at in range(60)]
    pieces = chunk(" ".join(sentences), max_chars=300, overlap_chars=60)
    assert all(len(piece) <= 300 for piece in pieces)
    assert all(any(sentence in piece for piece in pieces) for sentence in sentences)


def test_chinese_is_cut_after_a_full_stop() -> None:
    pieces = chunk("退货请在十四天内申请。" * 40, max_chars=100, overlap_chars=0)
    assert all(piece.endswith("。") for piece in pieces)


def test_a_text_without_any_break_is_cut_at_the_limit() -> None:
    assert [len(piece) for piece in chunk("x" * 250, max_chars=100, overlap_chars=0)] == [100, 100, 50]


def test_an_overlap_as_long_as_the_piece_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap_chars"):
        chunk("text", max_chars=100, overlap_chars=60)
