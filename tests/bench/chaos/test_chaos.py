"""`bench chaos`: a desk killed and the database gone under load, and what the result would say of a loss."""

from collections import Counter
from pathlib import Path

from bench.chaos.customer import Said
from bench.chaos.run import Run, Struck, result, run
from bench.chaos.shelf import customer_and_order, refunds, stock


def test_nothing_is_lost_when_a_desk_is_killed_and_the_database_goes_away() -> None:
    told = run(quick=True)
    assert told.ok, told.as_dict()
    assert told.detail["actions"] > 0
    assert set(told.detail["blows"]) == {"desk killed", "database stopped"}


def test_every_customer_of_the_shelf_has_an_order_to_be_refunded(tmp_path: Path) -> None:
    stock(tmp_path / "shop.db", 3)
    assert [customer_and_order(number) for number in (0, 2)] == [("C-200000", "KW-200000"), ("C-200002", "KW-200002")]
    assert refunds(tmp_path / "shop.db") == Counter()


def ran(*said: Said) -> Run:
    return Run(list(said), [Struck("rolling restart", 0.0, 10.0)], {"ses_1": "KW-1", "ses_2": "KW-2"}, 10.0)


def ok(ran: Run, moved: dict[str, int], ledger: dict[str, str]) -> set[str]:
    """The bars that fall short."""
    return {name for name, bar in result(ran, Counter(moved), ledger, {}).bars.items() if not bar.ok}


def test_each_loss_falls_short_of_its_bar() -> None:
    good = Said("ses_1", "yes", 1.0, "done", 2.0, accepted=True, acted=True)
    assert ok(ran(good), {"KW-1": 1}, {"ses_1": "done"}) == set()
    assert ok(ran(good), {"KW-1": 2}, {"ses_1": "done"}) == {"actions_doubled"}
    assert ok(ran(good), {}, {"ses_1": "done"}) == {"actions_lost"}
    assert ok(ran(good), {"KW-1": 1, "KW-2": 1}, {"ses_1": "done"}) == {"actions_lost"}
    assert ok(ran(Said("ses_1", "yes", 20.0, "lost", 80.0)), {}, {}) == {"turns_lost"}
    apology = Said("ses_1", "yes", 1.0, "interrupted", 2.0)
    assert ok(ran(apology), {}, {}) == {"turns_failed_in_a_rolling_restart"}
