"""Money: exact, of one currency, with that currency's decimals."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.domain.money import Money, exponent_of


@pytest.mark.parametrize(
    ("money", "said"),
    [
        (Money(2490, "EUR"), "24.90 EUR"),
        (Money(-5, "EUR"), "-0.05 EUR"),
        (Money(0, "EUR"), "0.00 EUR"),
        (Money(2490, "JPY"), "2490 JPY"),
        (Money(2490, "KWD"), "2.490 KWD"),
        (Money(12345, "CLF"), "1.2345 CLF"),
        (Money(10**40 + 1, "EUR"), f"1{'0' * 38}.01 EUR"),
    ],
)
def test_an_amount_is_written_with_its_currencys_decimals(money: Money, said: str) -> None:
    assert str(money) == said


@given(st.integers(-(10**30), 10**30), st.sampled_from(["EUR", "JPY", "KWD", "CLF"]))
def test_an_amount_read_back_is_the_same_money(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert Money.of(money.amount, currency) == Money.of(str(money.amount), currency) == money
    assert money.amount == Decimal(minor).scaleb(-exponent_of(currency)) or abs(minor) > 10**27  # the default context rounds


@pytest.mark.parametrize(("amount", "minor"), [("24.9", 2490), ("1E2", 10000), (Decimal("1.2300"), 123), (24, 2400), ("-0", 0)])
def test_decimals_and_text_are_read_exactly(amount: Decimal | str | int, minor: int) -> None:
    assert Money.of(amount, "EUR") == Money(minor, "EUR")


@pytest.mark.parametrize("amount", ["0.001", "1.005", "x", "", "NaN", "Infinity", "1E-999999999", "1E999999999"])
def test_what_is_no_exact_amount_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match=r"amount of money|finer than"):
        Money.of(amount, "EUR")


def test_floats_and_booleans_are_no_amounts() -> None:
    for wrong in (1.1, True, None):
        with pytest.raises(TypeError):
            Money.of(wrong, "EUR")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Money(1.0, "EUR")  # type: ignore[arg-type]


def test_arithmetic_stays_in_one_currency() -> None:
    ten, five = Money(1000, "EUR"), Money(500, "EUR")
    assert (ten + five, ten - five, -five, five * 3, 3 * five) == tuple(
        Money(minor, "EUR") for minor in (1500, 500, -500, 1500, 1500)
    )
    assert five < ten <= ten
    for mixed in (lambda: ten + Money(1, "USD"), lambda: ten - Money(1, "USD"), lambda: ten < Money(1, "USD")):
        with pytest.raises(ValueError, match="different currencies"):
            mixed()
    assert ten != Money(1000, "USD")


@pytest.mark.parametrize("code", ["", "eur", "EURO", "E1R", "€UR"])
def test_a_currency_is_a_code_of_three_letters(code: str) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        Money(1, code)
