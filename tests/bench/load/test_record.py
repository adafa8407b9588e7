"""What a worker writes down, and how windows add up."""

import pytest

from bench.load.figures import total
from bench.load.outcome import Outcome
from bench.load.plan import LoadPlan, Slo
from bench.load.record import Book

PLAN = LoadPlan("http://127.0.0.1:1", duration_s=100, warmup_s=10, slo=Slo(first_s=1.0, turn_s=2.0))
BEGIN_S = 1000.0


def answered(sent_s: float, first_s: float, done_s: float) -> Outcome:
    return Outcome(sent_s, "ok", True, "t", first_s, first_s, done_s, [first_s, done_s])


def book_of(*turns: tuple[float, Outcome]) -> Book:
    book = Book(PLAN, 0, BEGIN_S)
    for number, (intended_s, outcome) in enumerate(turns):
        book.started(number, intended_s)
        book.ended(number, outcome, "ses_1")
    return book


def test_latency_counts_from_when_the_turn_was_meant_to_be_sent() -> None:
    window = book_of((1020.0, answered(1023.0, 1023.5, 1024.0))).window(1030.0)
    figures = total([window])
    assert figures.at("turn", 0.5) == pytest.approx(4.0, rel=0.002)
    assert figures.at("turn_sent", 0.5) == pytest.approx(1.0, rel=0.002)
    assert figures.at("first_sentence", 0.5) == pytest.approx(3.5, rel=0.002)
    assert figures.at("gap", 0.5) == pytest.approx(0.5, rel=0.002)


def test_a_turn_is_good_only_when_both_its_first_sentence_and_its_end_are_in_time() -> None:
    both, late_first, late_end = (
        answered(1020.0, 1020.5, 1021.0),
        answered(1020.0, 1021.5, 1021.6),
        answered(1020.0, 1020.5, 1023.0),
    )
    figures = total([book_of(*((1020.0, each) for each in (both, late_first, late_end))).window(1030.0)])
    assert (figures.counts["good"], figures.counts["measured"]) == (1, 3)


def test_the_warm_up_is_cut_but_what_broke_in_it_is_told() -> None:
    figures = total([book_of((1005.0, answered(1005.0, 1005.1, 1005.2)), (1006.0, Outcome(1006.0, "http_503"))).window(1030.0)])
    assert (figures.counts["warmup"], figures.counts["measured"]) == (2, 0)
    assert figures.of("error_") == {"http_503": 1}
    assert "turn" not in figures.histograms


def test_refusals_are_no_errors_and_those_without_a_time_are_counted_apart() -> None:
    polite, rude = Outcome(1020.0, "refused", retry_after_s=2.0), Outcome(1020.0, "refused")
    figures = total([book_of((1020.0, polite), (1020.0, rude)).window(1030.0)])
    assert figures.of("error_") == {}
    assert (figures.counts["refusals"], figures.counts["refusals_without_retry_after"]) == (2, 1)
    assert figures.counts["measured"] - figures.counts["good"] == 2


def test_windows_of_two_workers_add_up_to_what_one_would_have_seen() -> None:
    turns = [(1020.0 + number, answered(1020.0 + number, 1020.1 + number, 1020.2 + number * 1.01)) for number in range(60)]
    one = total([book_of(*turns).window(1100.0)])
    two = total([book_of(*turns[::2]).window(1100.0), book_of(*turns[1::2]).window(1100.0)])
    assert one.summary("turn") == two.summary("turn")
    assert one.counts == two.counts


def test_a_window_tells_what_is_overdue_and_begins_anew() -> None:
    book = book_of()
    book.started(7, 1020.0)
    assert book.window(1021.0).overdue == 0
    later = book.window(1022.5)
    assert (later.overdue, later.in_flight, later.counts, later.begin_s) == (1, 1, {}, 21.0)


def test_accepted_turns_are_counted_by_session() -> None:
    taken, refused = answered(1020.0, 1020.1, 1020.2), Outcome(1020.0, "refused", retry_after_s=1.0)
    assert book_of((1020.0, taken), (1021.0, taken), (1022.0, refused)).accepted == {"ses_1": 2}
