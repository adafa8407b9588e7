"""The whole stack with the real engine, over HTTP, as a customer meets it."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import httpx
import psutil
import pytest
from httpx_sse import EventSource, ServerSentEvent, connect_sse

from bench.demo import CASES, SHOP_DB, Case
from bench.stack import Stack
from bench.visitor import Visitor

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
EVENTS_OF_A_TURN = ["turn.started", "plan"]


@pytest.mark.parametrize("case", CASES, ids=[case.locale for case in CASES])
def test_a_visit_ends_with_the_right_rows_in_the_shop(stack: Stack, case: Case) -> None:
    with Visitor(stack.url, customer_id=case.customer_id, locale=case.locale) as visitor:
        turns = [visitor.say(message) for message in case.messages]
    assert all(turn.of("turn.done") for turn in turns)
    assert max(turn.llm_calls for turn in turns) <= 3
    with sqlite3.connect(stack.data_dir / SHOP_DB) as connection:
        assert connection.execute(case.query).fetchall() == list(case.rows)


def test_a_turn_streams_its_stages_before_its_sentences_and_ends(stack: Stack) -> None:
    with Visitor(stack.url, customer_id="C-003", locale="en") as visitor:
        turn = visitor.say("Where is my order KW-1009?")
    names = [name for name, _ in turn.events]
    assert names[:2] == EVENTS_OF_A_TURN
    assert names[-1] == "turn.done"
    assert names.index("plan") < names.index("reply.sentence")
    assert "KW-1009" in turn.reply


def test_the_plan_was_the_models_and_its_grammar_held(stack: Stack) -> None:
    with Visitor(stack.url, customer_id="C-003", locale="en") as visitor:
        turn = visitor.say("my parcel KW-1009 never arrived")
    plan = turn.of("plan")[0]["plan"]
    assert plan["source"] == "model"
    assert plan["slots"] == {"order_id": "KW-1009"}


def test_nothing_of_a_stack_listens_beyond_loopback(stack: Stack) -> None:
    """Ray's own ports and those of Serve's replicas run what they are sent, and ask nobody for a key."""
    whole = psutil.Process(stack.pid)
    of_stack = {whole.pid, *(child.pid for child in whole.children(recursive=True))}
    names = {process.pid: process.info["name"] for process in psutil.process_iter(["name"]) if process.pid in of_stack}
    listening = {
        (names[socket.pid], ip_address(socket.laddr.ip.removeprefix("::ffff:")))
        for socket in psutil.net_connections("tcp")
        if socket.laddr and socket.status == psutil.CONN_LISTEN and socket.pid in names
    }
    assert {"gcs_server", "raylet"} <= {name for name, _ in listening}
    assert [(name, str(address)) for name, address in listening if not address.is_loopback] == []


def test_a_stream_resumes_after_the_last_event_seen(stack: Stack) -> None:
    with Visitor(stack.url, customer_id="C-004", locale="zh") as visitor:
        visitor.say("你好")
        whole, resumed = (_followed(visitor, after) for after in ("0", "2"))
    assert whole == sorted(set(whole))
    assert resumed == [seq for seq in whole if seq > 2]
    assert resumed


def _followed(visitor: Visitor, after: str) -> list[int]:
    """The ids of the session's events after one, until the turn's end. Events that are the desk's own have none here."""
    path, seen = f"/v1/sessions/{visitor.session_id}/events", []
    with connect_sse(visitor.http, "GET", path, headers={"Last-Event-ID": after}) as source:
        for sse in source.iter_sse():
            seen.append(int(sse.id))
            if sse.event == "turn.done":
                break
    return seen


def test_a_second_message_while_one_is_answered_gets_409_and_the_session_goes_on(stack: Stack) -> None:
    with Visitor(stack.url, customer_id="C-005", locale="en") as visitor, ThreadPoolExecutor(1) as pool:
        path, started = f"/v1/sessions/{visitor.session_id}/turns", threading.Event()

        def slow() -> str:
            body = {"text": "I want to return my cookbook, order KW-1010"}
            with connect_sse(visitor.http, "POST", path, json=body, headers={"Accept": "text/event-stream"}) as source:
                for sse in source.iter_sse():
                    started.set()
                    if sse.event in ("turn.done", "error"):
                        return sse.event
            return "cut"

        first = pool.submit(slow)
        assert started.wait(60)
        second = visitor.http.post(path, json={"text": "hello?"})
        assert second.status_code == 409
        assert second.headers["content-type"] == "application/problem+json"
        assert first.result() == "turn.done"
        assert visitor.say("hello?").of("turn.done")


def test_a_client_that_leaves_mid_stream_does_not_lose_its_turn(stack: Stack) -> None:
    with Visitor(stack.url, customer_id="C-006", locale="zh") as visitor:
        path = f"/v1/sessions/{visitor.session_id}/turns"
        streaming = {"Accept": "text/event-stream"}
        with (
            httpx.Client(base_url=stack.url, headers=visitor.http.headers, timeout=60) as leaving,
            connect_sse(leaving, "POST", path, json={"text": "你好"}, headers=streaming) as source,
        ):
            next(source.iter_sse())
        with connect_sse(visitor.http, "GET", f"/v1/sessions/{visitor.session_id}/events") as source:
            assert any(sse.event == "turn.done" for sse in _until_done(source))


def _until_done(source: EventSource) -> list[ServerSentEvent]:
    seen = []
    for sse in source.iter_sse():
        seen.append(sse)
        if sse.event == "turn.done":
            break
    return seen


def test_health_readiness_and_metrics_speak(stack: Stack) -> None:
    assert httpx.get(f"{stack.url}/healthz").json()["status"] == "ok"
    assert httpx.get(f"{stack.url}/readyz").json()["status"] == "ready"
    assert "keepword_turns_total" in httpx.get(f"{stack.url}/metrics").text
