"""What crosses HTTP. Unknown fields are refused by name."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _storable(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError("contains a NUL character or half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Locale = Annotated[str, Field(pattern=r"^[a-z]{2}(-[A-Z]{2})?$", description="`en`, `zh`, …; one of the pack's.")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class NewSession(Strict):
    """Opens a visit. Without `customer_token` the visitor is anonymous: the desk reads nobody's orders."""

    pack: str | None = Field(None, max_length=64, description="Must be the pack this desk serves.")
    customer_token: str | None = Field(None, max_length=1000)
    locale: Locale | None = None
    context: dict[str, Text | int | float | bool] = Field(default_factory=dict, max_length=50)


class SessionOpened(BaseModel):
    session_id: str
    session_token: str = Field(description="Send it as `Authorization: Bearer …` with every later request.")
    customer_id: str
    locale: str


class Image(Strict):
    data: str | None = None
    upload_id: str | None = None
    mime: str


class NewTurn(Strict):
    text: Text = Field(min_length=1)
    images: list[Image] = Field(default_factory=list, max_length=8)
    idempotency_key: Text | None = Field(None, min_length=1, max_length=200)
    locale: Locale | None = None


class EventOut(BaseModel):
    """One event; `data` is the event's own fields."""

    id: int
    event: str
    at: datetime
    data: dict[str, Any]


class TurnOut(BaseModel):
    """A finished turn: the reply and everything that led to it."""

    session_id: str
    turn_id: str
    reply: str
    outcome: str = Field(description="`done`, or the stable error type of a turn that ended in a handoff.")
    events: list[EventOut]


class SessionOut(BaseModel):
    session_id: str
    customer_id: str
    pack: str
    locale: str
    scenario: str | None
    open_offer_id: str | None
    transcript: list[dict[str, str]]
    last_event_id: int


class HandoffOut(BaseModel):
    """A promise to a customer: `owner` answers by `due_at`. `claimed_by` is the operator who has it."""

    id: str
    session_id: str
    tenant: str
    reason: str
    owner: str
    due_at: datetime
    claimed_by: str | None
    claimed_at: datetime | None
    closed_at: datetime | None


class OperatorReply(Strict):
    text: Text = Field(min_length=1)


class DevCustomer(Strict):
    customer_id: str = Field(min_length=1, max_length=128)
    market: str = Field("", max_length=64)
    tenant: str = Field("", max_length=64)


class DevToken(BaseModel):
    customer_id: str
    customer_token: str


class Health(BaseModel):
    status: str
    detail: dict[str, str] = Field(default_factory=dict)
