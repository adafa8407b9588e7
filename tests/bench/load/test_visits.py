"""What the scripted customers say."""

from agents.packs.loader import load_pack
from bench.load.visits import SEEDS, every_visit, turns_a_visit


def test_every_scenario_is_played_in_every_language_of_the_pack() -> None:
    pack = load_pack("shop")
    played = {(visit.scenario, visit.locale) for visit in every_visit(pack.locales)}
    assert played == {(scenario, locale) for scenario in pack.scenarios for locale in pack.locales}


def test_customers_ask_about_their_own_orders() -> None:
    rows = [line.split(",") for line in (SEEDS / "orders.csv").read_text(encoding="utf-8").splitlines()[1:]]
    owner = {row[0]: row[1] for row in rows}
    named = [
        (visit.customer_id, word)
        for visit in every_visit()
        for order in owner
        for word in [order]
        if any(order in m for m in visit.messages)
    ]
    assert len(named) > 100
    with_orders = set(owner.values())
    assert all(owner[order] == customer for customer, order in named if customer in with_orders)


def test_nothing_is_left_to_be_filled_in() -> None:
    said = [message for visit in every_visit() for message in visit.messages]
    assert not [message for message in said if "{" in message or "None" in message]
    assert 2 < turns_a_visit(every_visit()) < 4


def test_one_language_can_be_had_alone() -> None:
    assert {visit.locale for visit in every_visit(("zh",))} == {"zh"}
