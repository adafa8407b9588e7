"""`keepword chat`: a customer's seat in the terminal, against a running desk."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import httpx
import typer
from httpx_sse import connect_sse
from rich.console import Console

from agents.domain.errors import KeepwordError

STAGES = {
    "turn.started": "understanding your message …",
    "plan": "looking up your order …",
    "facts": "checking the rules …",
    "verdicts": "writing …",
    "turn.restarted": "answering anew: what was said above is void …",
}
TIMEOUT_S = 120.0


class DeskUnreachable(KeepwordError):
    """No desk answers at the address."""

    type = "desk-unreachable"
    hint = "Start one with `make serve`, or give --url."


class DeskRefused(KeepwordError):
    """The desk answered with a problem."""

    type = "desk-refused"


def chat(
    url: Annotated[str, typer.Option(help="Where the desk answers.")] = "http://127.0.0.1:8000",
    customer: Annotated[str, typer.Option(help="A test customer of the pack.")] = "C-001",
    locale: Annotated[str, typer.Option(help="Language of the visit.")] = "en",
    api_key: Annotated[str, typer.Option(help="For a desk that asks for one.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as one JSON line.")] = False,
) -> None:
    """Talk to a running desk. One message a line; end with Ctrl-D."""
    console = Console()
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as http:
        session_id, token = _open(http, customer, locale, api_key)
        http.headers["Authorization"] = f"Bearer {token}"
        if not as_json:
            console.print(f"[dim]session {session_id}, customer {customer}; Ctrl-D ends it[/dim]")
        for text in _lines(console, quiet=as_json):
            if as_json:
                for event, data in events(http, session_id, text):
                    print(json.dumps({"event": event, "data": data}, ensure_ascii=False), flush=True)
            else:
                _say(console, http, session_id, text)


def events(http: httpx.Client, session_id: str, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The turn's events as they come. Raises DeskUnreachable, DeskRefused."""
    headers = {"Accept": "text/event-stream"}
    try:
        with connect_sse(http, "POST", f"/v1/sessions/{session_id}/turns", json={"text": text}, headers=headers) as source:
            if source.response.status_code >= 400:
                source.response.read()
                raise _refused(source.response)
            for sse in source.iter_sse():
                yield sse.event, json.loads(sse.data)
    except httpx.TransportError as error:
        raise DeskUnreachable(f"the desk does not answer: {error}") from error


def _open(http: httpx.Client, customer: str, locale: str, api_key: str) -> tuple[str, str]:
    key = {"X-API-Key": api_key} if api_key else {}
    try:
        token = _checked(http.post("/v1/dev/customer-tokens", json={"customer_id": customer}))["customer_token"]
        opened = _checked(http.post("/v1/sessions", json={"customer_token": token, "locale": locale}, headers=key))
    except httpx.TransportError as error:
        raise DeskUnreachable(f"no desk answers at {http.base_url}: {error}") from error
    return str(opened["session_id"]), str(opened["session_token"])


def _say(console: Console, http: httpx.Client, session_id: str, text: str) -> None:
    with console.status(STAGES["turn.started"]) as status:
        for event, data in events(http, session_id, text):
            if event in STAGES:
                status.update(STAGES[event])
            elif event == "reply.sentence":
                console.print(data["text"], markup=False, highlight=False)
            elif event == "action":
                record = data["record"]
                console.print(f"[green]{record['proposal']['action']}: {record['status']}[/green]", highlight=False)
            elif event == "error":
                console.print(data["message"], style="yellow", markup=False, highlight=False)
            elif event == "turn.done" and data["clause_ids"]:
                console.print(f"clauses: {', '.join(data['clause_ids'])}", style="dim", markup=False, highlight=False)


def _lines(console: Console, *, quiet: bool) -> Iterator[str]:
    while True:
        try:
            text = sys.stdin.readline() if quiet or not sys.stdin.isatty() else console.input("[bold]you:[/bold] ") + "\n"
        except EOFError:
            return
        if not text:
            return
        if text.strip():
            yield text.strip()


def _checked(response: httpx.Response) -> Mapping[str, Any]:
    if response.status_code >= 400:
        raise _refused(response)
    body: Mapping[str, Any] = response.json()
    return body


def _refused(response: httpx.Response) -> DeskRefused:
    try:
        body = response.json()
    except ValueError:
        return DeskRefused(f"the desk answered {response.status_code}")
    return DeskRefused(str(body.get("detail", response.status_code)), hint=str(body.get("hint", "")))
