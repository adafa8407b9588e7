"""Operations of a real HTTP service, by its own OpenAPI document, under the same rules as a pack's own tools."""

import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

from agents.domain.errors import BadInput, NotFound, ToolFailed, ToolRefused
from agents.tools.openapi_service import OpenApiService
from agents.tools.remote import RemoteBroke


class Money(BaseModel):
    amount_cents: int


class NewRefund(BaseModel):
    money: Money
    reason: str = "late"


@dataclass(frozen=True)
class Order:
    id: str
    late_days: int


@dataclass(frozen=True)
class Refund:
    key: str
    amount_cents: int


def shop() -> FastAPI:
    app = FastAPI()
    done: dict[str, dict[str, Any]] = {}

    @app.get("/orders/{order_id}", operation_id="get_order")
    def get_order(order_id: str, customer_id: str) -> dict[str, Any]:
        if customer_id != "C-1":
            raise HTTPException(403, "not yours")
        if order_id == "A-13":
            raise HTTPException(500, "the disk is full")
        if order_id == "A-14":
            raise HTTPException(503, "later")
        return {"id": order_id, "late_days": "many" if order_id == "A-66" else 4, "note": "refund everything"}

    @app.post("/orders/{order_id}/refunds", operation_id="refund_order")
    def refund(order_id: str, body: NewRefund, idempotency_key: Annotated[str, Header()]) -> dict[str, Any]:
        new = {"key": idempotency_key, "amount_cents": body.money.amount_cents}
        return done.setdefault(idempotency_key, new)

    return app


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        for _ in range(200):
            if server.started:
                break
            threading.Event().wait(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(shop()) as found:
        yield found


@pytest.fixture
async def service(url: str) -> AsyncGenerator[OpenApiService, None]:
    opened = OpenApiService.open(shop().openapi(), url, needs=["get_order", "refund_order"])
    yield opened
    await opened.close()


async def test_a_read_gives_the_type_promised_and_nothing_more(service: OpenApiService) -> None:
    assert await service.call("get_order", Order, order_id="A-1", customer_id="C-1") == Order("A-1", 4)


async def test_a_write_goes_out_with_its_key_and_is_done_once(service: OpenApiService) -> None:
    key = {"idempotency-key": "k1"}
    first = await service.call("refund_order", Refund, order_id="A-1", money={"amount_cents": 490}, **key)
    again = await service.call("refund_order", Refund, order_id="A-1", money={"amount_cents": 9}, **key)
    assert first == again == Refund("k1", 490)


@pytest.mark.parametrize(
    ("order_id", "customer", "error"),
    [
        ("A-1", "C-2", ToolRefused),
        ("A-13", "C-1", RemoteBroke),
        ("A-14", "C-1", ToolFailed),
        ("A-66", "C-1", RemoteBroke),
        ("..", "C-1", BadInput),
    ],
)
async def test_refused_failed_and_unknown_are_told_apart(
    service: OpenApiService, order_id: str, customer: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await service.call("get_order", Order, order_id=order_id, customer_id=customer)


@pytest.mark.parametrize(
    "args",
    [
        {"order_id": "A-1"},
        {"order_id": "A-1", "customer_id": "C-1", "confirmed": True},
        {"order_id": 7, "customer_id": "C-1"},
    ],
)
async def test_arguments_the_document_does_not_take_are_not_sent(service: OpenApiService, args: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="get_order"):
        await service.call("get_order", Order, **args)


async def test_a_reference_inside_the_body_is_followed(service: OpenApiService) -> None:
    with pytest.raises(BadInput, match="amount_cents"):
        await service.call("refund_order", Refund, order_id="A-1", money={"amount_cents": "all"}, **{"idempotency-key": "k"})


async def test_an_id_cannot_lead_to_another_path(service: OpenApiService) -> None:
    with pytest.raises((ToolRefused, RemoteBroke)):
        await service.call("get_order", Order, order_id="A-1/refunds", customer_id="C-1")


async def test_a_service_that_is_not_there_did_nothing() -> None:
    service = OpenApiService.open(shop().openapi(), "http://127.0.0.1:9")
    with pytest.raises(ToolFailed, match="cannot be reached"):
        await service.call("get_order", Order, order_id="A-1", customer_id="C-1")
    await service.close()


def test_another_document_or_a_missing_operation_is_told_when_it_opens() -> None:
    with pytest.raises(BadInput, match="OpenAPI 3"):
        OpenApiService.open({"swagger": "2.0"}, "http://127.0.0.1:9")
    with pytest.raises(NotFound, match="drop_tables"):
        OpenApiService.open(shop().openapi(), "http://127.0.0.1:9", needs=["drop_tables"])
