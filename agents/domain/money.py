"""Money: exact amounts that know their currency.

What is stored, and what CEL sees, is the integer number of minor units (cents, fen): CEL has 64-bit integers and binary
doubles but no decimals, so only integers are exact there, and `a * 30 / 100` drops the fraction in one known way. People read,
and code computes, through this type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Self

_EXPONENTS: Mapping[str, int] = {
    code: exponent
    for exponent, codes in (
        (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
        (3, "BHD IQD JOD KWD LYD OMR TND"),
        (4, "CLF UYW"),
    )
    for code in codes.split()
}
"""Currencies without two decimals: ISO 4217:2015, list one (maintained by SIX), column "minor unit"."""
_MOST_DIGITS = 40  # of an exponent: a text may not make us write out a billion zeros


def exponent_of(currency: str) -> int:
    """The number of decimals of an ISO 4217 currency. Raises ValueError for what is no three-letter code."""
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        raise ValueError(f"currency {currency!r} is no ISO 4217 code such as EUR")
    return _EXPONENTS.get(currency, 2)


@dataclass(frozen=True, slots=True)
class Money:
    """`minor` units of an ISO 4217 `currency`. Adding, subtracting and comparing two currencies raises ValueError."""

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.minor, int) or isinstance(self.minor, bool):
            raise TypeError(f"minor units are a whole number, not {self.minor!r}: parse decimals with Money.of")
        exponent_of(self.currency)

    @classmethod
    def of(cls, amount: Decimal | str | int, currency: str) -> Self:
        """The money of a decimal amount: Decimal("24.90"), "24.90", 24. Raises ValueError for what is no finite number or
        finer than the currency's smallest unit; a float is refused, because it is not exact. TypeError for other types."""
        if isinstance(amount, bool) or not isinstance(amount, Decimal | str | int):
            raise TypeError(f"an amount is a Decimal, a str or an int, not {type(amount).__name__}")
        try:
            given = Decimal(amount)
        except InvalidOperation as error:
            raise ValueError(f"{amount!r} is no amount of money") from error
        sign, digits, exponent = given.as_tuple()
        if not isinstance(exponent, int) or abs(exponent) > _MOST_DIGITS:  # not finite, or nobody's amount
            raise ValueError(f"{amount!r} is no amount of money")
        shift = exponent + exponent_of(currency)
        whole = int("".join(map(str, digits)))
        if shift < 0:
            whole, rest = divmod(whole, 10**-shift)
            if rest:
                raise ValueError(f"{amount} is finer than the smallest unit of {currency}")
        else:
            whole *= 10**shift
        return cls(-whole if sign else whole, currency)

    @property
    def amount(self) -> Decimal:
        """The amount in whole units with all its decimals: Decimal("24.90"). Exact, whatever its size."""
        digits = tuple(map(int, str(abs(self.minor))))
        return Decimal((int(self.minor < 0), digits, -exponent_of(self.currency)))

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}"

    def __bool__(self) -> bool:
        return self.minor != 0

    def __add__(self, other: Self) -> Self:
        return type(self)(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.minor - self._same(other), self.currency)

    def __neg__(self) -> Self:
        return type(self)(-self.minor, self.currency)

    def __mul__(self, times: int) -> Self:
        if not isinstance(times, int) or isinstance(times, bool):
            return NotImplemented
        return type(self)(self.minor * times, self.currency)

    __rmul__ = __mul__

    def __lt__(self, other: Self) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Self) -> bool:
        return self.minor <= self._same(other)

    def __gt__(self, other: Self) -> bool:
        return self.minor > self._same(other)

    def __ge__(self, other: Self) -> bool:
        return self.minor >= self._same(other)

    def _same(self, other: Self) -> int:
        if other.currency != self.currency:
            raise ValueError(f"{self} and {other} are different currencies: convert one first")
        return other.minor
