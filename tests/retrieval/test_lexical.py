from pathlib import Path

from retrieval.lexical import LexicalIndex, tokenise

TEXTS = ["the parcel arrived broken", "my coupon expired", "包裹还没收到", "优惠券过期了"]


def test_forms_of_an_english_word_meet() -> None:
    assert tokenise("arrived") == tokenise("arrives") == tokenise("arriving")
    assert tokenise("cancelled") == tokenise("cancels")


def test_chinese_gives_characters_and_pairs() -> None:
    assert tokenise("收到了") == ["收", "到", "了", "收到", "到了"]


def test_the_text_that_shares_terms_scores_highest_in_either_language() -> None:
    index = LexicalIndex.build(TEXTS)
    assert index.scores("arriving parcels").argmax() == 0
    assert index.scores("我没有收到包裹").argmax() == 2


def test_a_text_without_known_terms_scores_nothing() -> None:
    assert LexicalIndex.build(TEXTS).scores("zzz 龘").tolist() == [0, 0, 0, 0]


def test_a_saved_index_scores_the_same_from_its_files(tmp_path: Path) -> None:
    built = LexicalIndex.build(TEXTS)
    built.save(tmp_path / "lexical")
    opened = LexicalIndex.open(tmp_path / "lexical", len(TEXTS))
    assert opened.scores("过期的优惠券 coupon").tolist() == built.scores("过期的优惠券 coupon").tolist()
    assert str(tmp_path) in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_texts_without_any_term_make_an_index_that_finds_nothing(tmp_path: Path) -> None:
    LexicalIndex.build(["!!!", "🙂"]).save(tmp_path)
    assert LexicalIndex.open(tmp_path, 2).scores("hello").tolist() == [0, 0]
