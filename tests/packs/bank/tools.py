"""A bank's back office in memory: accounts, fees, cards and payments of two customers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from agents.domain.errors import ToolRefused
from agents.ports import ToolCall
from agents.tools.registry import tool

DEV_CUSTOMERS = ("B-1", "B-2")


@dataclass(frozen=True)
class Account:
    id: str
    customer_id: str
    in_good_standing: bool


@dataclass(frozen=True)
class Fee:
    id: str
    kind: Literal["monthly", "transfer", "interest"]
    amount_cents: int
    paid_back: bool


@dataclass(frozen=True)
class Card:
    id: str
    state: Literal["active", "paused", "blocked"]


@dataclass(frozen=True)
class Payment:
    id: str
    merchant: str
    amount_cents: int
    days_ago: int
    with_pin: bool
    disputed: bool


@dataclass(frozen=True)
class FeeReceipt:
    fee_id: str
    amount_cents: int


@dataclass(frozen=True)
class BlockReceipt:
    card_id: str
    arrives_on: str


@dataclass(frozen=True)
class CaseReceipt:
    case_id: str
    payment_id: str


Thing = TypeVar("Thing", Account, Fee, Card, Payment)


@dataclass
class Bank:
    """What each customer has, by id, and receipts by idempotency key."""

    things: dict[str, list[Account | Fee | Card | Payment]] = field(default_factory=dict)
    receipts: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def own(self, kind: type[Thing], call: ToolCall, wanted: str | None = None) -> Thing:
        for thing in self.things.get(call.customer_id, ()):
            if isinstance(thing, kind) and wanted in (None, thing.id):
                return thing
        raise ToolRefused(f"no such {kind.__name__.lower()} of this customer")

    def change(self, call: ToolCall, old: Thing, new: Thing, receipt: FeeReceipt | BlockReceipt | CaseReceipt) -> None:
        mine = self.things[call.customer_id]
        mine[mine.index(old)] = new
        self.receipts[call.key or ""] = asdict(receipt)


async def open_back_office(data_dir: Path) -> Bank:
    one: list[Account | Fee | Card | Payment] = [
        Account("A-1", "B-1", in_good_standing=True),
        Fee("F-101", "monthly", 490, paid_back=False),
        Fee("F-102", "transfer", 1500, paid_back=False),
        Fee("F-103", "transfer", 1200, paid_back=False),
        Fee("F-104", "interest", 300, paid_back=False),
        Card("4410", "active"),
        Payment("P-2001", "Corner Kiosk", 8000, 10, with_pin=False, disputed=False),
        Payment("P-2002", "Far Away Ltd", 9000, 70, with_pin=False, disputed=False),
        Payment("P-2003", "Cash Point", 5000, 3, with_pin=True, disputed=False),
    ]
    two: list[Account | Fee | Card | Payment] = [
        Account("A-2", "B-2", in_good_standing=False),
        Fee("F-201", "monthly", 490, paid_back=False),
    ]
    return Bank({"B-1": one, "B-2": two})


async def lookup_receipt(bank: Bank, call: ToolCall) -> Mapping[str, Any] | None:
    return bank.receipts.get(call.key or "")


async def close(bank: Bank) -> None:
    bank.things.clear()


@tool(kind="read", provides="account")
async def get_account(bank: Bank, call: ToolCall) -> Account:
    """The customer's account."""
    return bank.own(Account, call)


@tool(kind="read", requires=["fee_id"], provides="fee")
async def get_fee(bank: Bank, call: ToolCall, fee_id: str) -> Fee:
    """A fee charged to the customer."""
    return bank.own(Fee, call, fee_id)


@tool(kind="read", requires=["card_id"], provides="card")
async def get_card(bank: Bank, call: ToolCall, card_id: str) -> Card:
    """A card of the customer, by its last four digits."""
    return bank.own(Card, call, card_id)


@tool(kind="read", requires=["payment_id"], provides="payment")
async def get_payment(bank: Bank, call: ToolCall, payment_id: str) -> Payment:
    """A card payment of the customer."""
    return bank.own(Payment, call, payment_id)


@tool(kind="write")
async def refund_fee(bank: Bank, call: ToolCall, fee_id: str, amount_cents: int) -> FeeReceipt:
    """Pay a fee back."""
    if (call.key or "") not in bank.receipts:
        fee = bank.own(Fee, call, fee_id)
        bank.change(call, fee, replace(fee, paid_back=True), FeeReceipt(fee_id, amount_cents))
    return FeeReceipt(**bank.receipts[call.key or ""])


@tool(kind="write")
async def block_card(bank: Bank, call: ToolCall, card_id: str) -> BlockReceipt:
    """Block a card for good and send a new one."""
    if (call.key or "") not in bank.receipts:
        card = bank.own(Card, call, card_id)
        arrives = (call.now + timedelta(days=5)).date().isoformat()
        bank.change(call, card, replace(card, state="blocked"), BlockReceipt(card_id, arrives))
    return BlockReceipt(**bank.receipts[call.key or ""])


@tool(kind="write")
async def credit_disputed(bank: Bank, call: ToolCall, payment_id: str, amount_cents: int) -> CaseReceipt:
    """Credit a disputed payment for now and open a case."""
    if (call.key or "") not in bank.receipts:
        payment = bank.own(Payment, call, payment_id)
        bank.change(call, payment, replace(payment, disputed=True), CaseReceipt(f"D-{payment_id[2:]}", payment_id))
    return CaseReceipt(**bank.receipts[call.key or ""])
