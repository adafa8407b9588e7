"""A customer over HTTP: opens a session, sends messages, reads the streamed events."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx
from httpx_sse import connect_sse

TURN_TIMEOUT_S = 120.0


@dataclass
class Turn:
    """One turn as the customer saw it. Times in seconds since the message was sent."""

    text: str
    events: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    first_sentence_s: float | None = None
    done_s: float = 0.0

    def of(self, name: str) -> list[Mapping[str, Any]]:
        return [data for event, data in self.events if event == name]

    @property
    def reply(self) -> str:
        done = self.of("turn.done") or self.of("error")
        return str(done[-1].get("text") or done[-1].get("message") or "") if done else ""

    @property
    def clause_ids(self) -> list[str]:
        done = self.of("turn.done")
        return list(done[-1].get("clause_ids", ())) if done else []

    @property
    def llm_calls(self) -> int:
        done = self.of("turn.done")
        return int(done[-1]["usage"]["llm_calls"]) if done else 0


class Visitor:
    """One customer's session against a running desk. Use as a context manager."""

    def __init__(self, url: str, *, customer_id: str, locale: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=TURN_TIMEOUT_S)
        answer = self.http.post("/v1/dev/customer-tokens", json={"customer_id": customer_id})
        answer.raise_for_status()
        body = {"customer_token": answer.json()["customer_token"], "locale": locale}
        opened = self.http.post("/v1/sessions", json=body)
        opened.raise_for_status()
        self.session_id = str(opened.json()["session_id"])
        self.http.headers["Authorization"] = f"Bearer {opened.json()['session_token']}"

    def __enter__(self) -> "Visitor":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.http.close()

    def say(self, text: str) -> Turn:
        """Send `text` and read events until the turn ends. Raises httpx.HTTPStatusError when it was not accepted."""
        turn, began = Turn(text), time.monotonic()
        path = f"/v1/sessions/{self.session_id}/turns"
        with connect_sse(self.http, "POST", path, json={"text": text}, headers={"Accept": "text/event-stream"}) as source:
            source.response.raise_for_status()
            for sse in source.iter_sse():
                turn.events.append((sse.event, json.loads(sse.data)))
                if sse.event == "reply.sentence" and turn.first_sentence_s is None:
                    turn.first_sentence_s = time.monotonic() - began
                if sse.event in ("turn.done", "error"):
                    break
        turn.done_s = time.monotonic() - began
        return turn
