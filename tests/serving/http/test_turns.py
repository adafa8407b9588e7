"""Turns over HTTP: streams, whole answers, resuming, once only, one at a time, and clients that leave."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

import pytest
from httpx_sse import aconnect_sse

from serving.admission.place import Place
from serving.admission.tickets import Ticket
from tests.serving.http.conftest import HELD, Served

pytestmark = pytest.mark.asyncio(loop_scope="module")
STREAM = {"Accept": "text/event-stream"}


async def streamed(
    served: Served, method: str, path: str, headers: Mapping[str, str], body: object = None
) -> list[tuple[int, str, dict[str, Any]]]:
    """(id, name, data) of each event until the turn ends."""
    seen = []
    async with aconnect_sse(served.http, method, path, json=body, headers=dict(headers)) as source:
        async for sse in source.aiter_sse():
            seen.append((int(sse.id), sse.event, json.loads(sse.data)))
            if sse.event in ("turn.done", "error"):
                break
    return seen


async def test_a_turn_streams_in_order_and_its_reply_is_its_sentences(served: Served) -> None:
    path, token = await served.visit("C-003")
    events = await streamed(served, "POST", f"{path}/turns", token | STREAM, {"text": "Where is my order KW-1009?"})
    names = [name for _, name, _ in events]
    assert names[0] == "turn.started"
    assert names.index("plan") < names.index("facts") < names.index("reply.sentence")
    assert names[-1] == "turn.done"
    sentences = [data["text"] for _, name, data in events if name == "reply.sentence"]
    assert events[-1][2]["text"] == " ".join(sentences)


async def test_the_same_turn_as_json_carries_the_same_events(served: Served) -> None:
    path, token = await served.visit("C-003")
    answer = (await served.http.post(f"{path}/turns", json={"text": "Where is my order KW-1009?"}, headers=token)).json()
    assert answer["outcome"] == "done"
    assert answer["events"][-1]["event"] == "turn.done"
    assert answer["reply"] == answer["events"][-1]["data"]["text"]


async def test_a_stream_resumes_after_the_last_event_seen(served: Served) -> None:
    path, token = await served.visit("C-004", "zh")
    whole = await streamed(served, "POST", f"{path}/turns", token | STREAM, {"text": "你好"})
    seen = whole[1][0]
    rest = await streamed(served, "GET", f"{path}/events", token | {"Last-Event-ID": str(seen)})
    assert rest == [event for event in whole if event[0] > seen]


async def test_a_repeated_key_gives_the_same_turn_and_acts_once(served: Served) -> None:
    path, token = await served.visit("C-003")
    headers = token | {"Idempotency-Key": "k-1"}
    first = (await served.http.post(f"{path}/turns", json={"text": "Where is KW-1009?"}, headers=headers)).json()
    again = (await served.http.post(f"{path}/turns", json={"text": "Where is KW-1009?"}, headers=headers)).json()
    assert again == first
    transcript = (await served.http.get(path, headers=token)).json()["transcript"]
    assert [line["who"] for line in transcript] == ["customer", "desk"]


async def test_a_repeated_key_is_told_again_by_a_desk_that_is_full(served: Served) -> None:
    path, token = await served.visit("C-003")
    headers = token | {"Idempotency-Key": "k-1"}
    first = (await served.http.post(f"{path}/turns", json={"text": "Where is KW-1009?"}, headers=headers)).json()
    gate, others = served.desk.admission.gate, list[Place]()
    while gate.has_room(Ticket("others")):
        others.append(gate.offer(Ticket("others")))
    others += [gate.offer(Ticket(f"tenant-{number}")) for number in range(100)]
    again = (await asyncio.wait_for(served.http.post(f"{path}/turns", json={"text": "?"}, headers=headers), 5)).json()
    assert again == first
    for place in others:
        gate.leave(place, 0.0)


async def test_a_case_is_settled_over_http_and_paid_once(served: Served) -> None:
    path, token = await served.visit("C-001")
    for text in ("The mug set from order KW-1042 arrived broken", "yes please", "yes please"):
        answer = (await served.http.post(f"{path}/turns", json={"text": text}, headers=token)).json()
        assert answer["outcome"] == "done"
    with sqlite3.connect(served.desk.settings.data_dir / "pack-shop" / "shop.db") as connection:
        rows = connection.execute("SELECT count(*) FROM refunds WHERE order_id = 'KW-1042'").fetchone()
    assert rows == (1,)


async def test_a_second_message_while_one_is_answered_gets_409_then_the_session_goes_on(served: Served) -> None:
    path, token = await served.visit("C-005")
    first = asyncio.create_task(served.http.post(f"{path}/turns", json={"text": HELD}, headers=token))
    await served.model.waiting.wait()
    second = await served.http.post(f"{path}/turns", json={"text": "hello?"}, headers=token)
    assert second.status_code == 409
    assert second.headers["content-type"] == "application/problem+json"
    assert int(second.headers["retry-after"]) >= 1
    served.model.go_on.set()
    assert (await first).json()["outcome"] == "done"
    assert (await served.http.post(f"{path}/turns", json={"text": "hello?"}, headers=token)).json()["outcome"] == "done"


async def test_a_client_that_leaves_mid_stream_does_not_lose_its_turn(served: Served) -> None:
    path, token = await served.visit("C-006")
    async with aconnect_sse(served.http, "POST", f"{path}/turns", json={"text": HELD}, headers=token | STREAM) as source:
        await anext(source.aiter_sse())
        await served.model.waiting.wait()
    served.model.go_on.set()
    events = await streamed(served, "GET", f"{path}/events", token)
    assert events[-1][1] == "turn.done"


async def test_two_followers_see_the_same_events(served: Served) -> None:
    path, token = await served.visit("C-004")
    follow = asyncio.gather(*(streamed(served, "GET", f"{path}/events", token) for _ in range(2)))
    await served.http.post(f"{path}/turns", json={"text": "hello"}, headers=token)
    one, other = await follow
    assert one == other
    seqs = [seq for seq, _, _ in one]
    assert seqs == sorted(set(seqs))
    assert "tape" not in {event for _, event, _ in one}


async def test_the_transcript_tells_who_said_what_and_where_the_visit_stands(served: Served) -> None:
    path, token = await served.visit("C-003")
    await served.http.post(f"{path}/turns", json={"text": "Where is my order KW-1009?"}, headers=token)
    session = (await served.http.get(path, headers=token)).json()
    assert session["customer_id"] == "C-003"
    assert session["transcript"][0] == {"who": "customer", "text": "Where is my order KW-1009?"}
    assert session["last_event_id"] > 3


async def test_many_customers_at_once_are_all_answered(served: Served) -> None:
    async def one(number: int) -> str:
        path, token = await served.visit(f"C-{number:03d}")
        return str((await served.http.post(f"{path}/turns", json={"text": "hello"}, headers=token)).json()["outcome"])

    assert set(await asyncio.gather(*(one(number) for number in range(1, 31)))) == {"done"}


async def test_the_gate_hears_how_late_the_event_loop_is(served: Served) -> None:
    strain = served.desk.admission.gate.strain
    strain.lag_s = 0.0
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251  nothing else is done meanwhile: that is the point
    await asyncio.sleep(0.01)
    assert strain.lag_s > 0.002
