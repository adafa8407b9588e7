"""A stream becomes sentences; numbers and ids stay whole."""

from agents.reply.sentences import SentenceSplitter


def fed(*pieces: str) -> tuple[list[str], str]:
    splitter = SentenceSplitter()
    return [sentence for piece in pieces for sentence in splitter.feed(piece)], splitter.rest


def test_a_dot_inside_a_number_ends_nothing() -> None:
    assert fed("It is 7.", "47 EUR. ", "Good") == (["It is 7.47 EUR."], " Good")


def test_chinese_marks_end_a_sentence_without_a_space() -> None:
    assert fed("很抱歉。", "请稍等！好") == (["很抱歉。", "请稍等！"], "好")


def test_a_line_break_ends_a_sentence() -> None:
    assert fed("one\n\ntwo") == (["one"], "two")
