"""`bench serve-settings`: what the rounds say, and two rounds of a real stack (two desks behind HAProxy)."""

from pathlib import Path

from bench.serve_settings.run import Compared, Round, result, side_by_side
from bench.stack import running_stack


def test_a_ratio_is_the_median_of_the_pairs() -> None:
    defaults = [Round(100, 1.0, 1.0, (0.01,)), Round(50, 1.0, 1.0, (0.02,)), Round(10, 1.0, 1.0, (0.1,))]
    others = [Round(110, 1.0, 0.5, (0.01,)), Round(100, 1.0, 0.5, (0.01,)), Round(15, 1.0, 0.5, (0.05,))]
    compared = Compared(defaults, others)
    assert compared.ratio(lambda each: each.turns_per_s) == 1.5
    told = result({"an alternative": compared}, 3).detail["alternatives"]["an alternative"]
    assert (told["turns_per_s_ratio"], told["turn_p50_ratio"]) == (1.5, 0.5)


def test_a_round_without_a_turn_falls_short() -> None:
    good, none = Round(10, 1.0, 1.0, (0.1,)), Round(0, 1.0, 1.0, ())
    assert result({"a": Compared([good], [good])}, 1).ok
    assert not result({"a": Compared([good], [none])}, 1).ok


def test_two_desks_behind_haproxy_answer_every_customer(tmp_path: Path) -> None:
    settings = {"KEEPWORD_LOG_LEVEL": "WARNING", "KEEPWORD_INGRESS": "haproxy", "KEEPWORD_DESK_REPLICAS": "2"}
    with running_stack(tmp_path / "state", settings=settings, engine="simulated:instant") as stack:
        compared = side_by_side(stack, stack, rounds=1, round_s=1.0)
    assert result({"itself": compared}, 1).ok
    assert all(each.cpu_s > 0 for each in (*compared.defaults, *compared.others))
