"""Whatever a client sends: a problem+json answer that names the fault, and a session that still works."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.serving.http.conftest import MAX_BODY_BYTES, MAX_TEXT_CHARS, Served

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"content-type": "application/json"}

BODIES: Mapping[str, tuple[bytes, Mapping[str, str], int, str]] = {
    "text over the limit": (b'{"text": "' + b"x" * (MAX_TEXT_CHARS + 1) + b'"}', JSON, 422, "text-too-long"),
    "text is a number": (b'{"text": 5}', JSON, 422, "bad-input"),
    "text is null": (b'{"text": null}', JSON, 422, "bad-input"),
    "text is blank": ('{"text": " \\n\u3000"}'.encode(), JSON, 422, "bad-input"),
    "no text": (b"{}", JSON, 422, "bad-input"),
    "a list": (b"[]", JSON, 422, "bad-input"),
    "an unknown field": (b'{"text": "a", "txet": "b"}', JSON, 422, "bad-input"),
    "a locale nobody speaks here": (b'{"text": "a", "locale": "fr"}', JSON, 422, "bad-input"),
    "an image": (b'{"text": "a", "images": [{"mime": "image/png", "data": "AAAA"}]}', JSON, 422, "images-not-supported"),
    "not JSON": (b'{"text": ', JSON, 400, "bad-json"),
    "no body": (b"", JSON, 422, "bad-input"),
    "broken UTF-8": (b'{"text": "\xff\xfe"}', JSON, 400, "bad-json"),
    "ten thousand levels": (b'{"text": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", {}, 400, "bad-json"),
    "a body over the limit": (b'{"text": "' + b"x" * MAX_BODY_BYTES + b'"}', JSON, 413, "body-too-large"),
    "a form": (b"text=hello", {"content-type": "application/x-www-form-urlencoded"}, 415, "media-type"),
}


def kind(answer: Mapping[str, Any]) -> str:
    return str(answer["type"]).removeprefix("urn:keepword:")


@pytest.mark.parametrize("case", BODIES, ids=list(BODIES))
async def test_a_bad_body_is_refused_by_name_and_the_session_works_on(served: Served, case: str) -> None:
    body, headers, status, expected = BODIES[case]
    path, token = await served.visit()
    answer = await served.http.post(f"{path}/turns", content=body, headers=JSON | token | dict(headers))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert kind(problem) == expected
    assert problem["detail"]
    after = await served.http.post(f"{path}/turns", json={"text": "hello"}, headers=token)
    assert after.json()["outcome"] == "done"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\\u0000b", "a NUL"),
        ("\\ud800", "half a surrogate pair"),
        ("\\u202e\\u200b\\ufeff", "nothing but marks of direction"),
        ("\\ud83d\\ude00" * 100, "emoji"),
        ("<script>alert(1)</script>", "markup"),
        ("'; DROP TABLE orders; --", "SQL"),
        ("{order.id} {{x}} %s $HOME", "placeholders"),
    ],
)
async def test_strange_text_is_answered_or_refused_never_broken(served: Served, text: str, why: str) -> None:
    path, token = await served.visit()
    answer = await served.http.post(f"{path}/turns", content=f'{{"text": "{text}"}}'.encode(), headers=JSON | token)
    assert answer.status_code in (200, 422), why
    if answer.status_code == 200:
        assert answer.json()["outcome"] == "done"
    assert (await served.http.get(path, headers=token)).status_code == 200


async def test_the_message_names_the_field_to_mend(served: Served) -> None:
    path, token = await served.visit()
    problem = (await served.http.post(f"{path}/turns", json={"text": "x" * (MAX_TEXT_CHARS + 1)}, headers=token)).json()
    assert problem["field"] == "text"
    assert str(MAX_TEXT_CHARS) in problem["hint"]


async def test_an_unknown_session_is_not_found(served: Served) -> None:
    _, token = await served.visit()
    for method, path in (("POST", "/v1/sessions/ses_none/turns"), ("GET", "/v1/sessions/ses_none")):
        answer = await served.http.request(method, path, json={"text": "a"} if method == "POST" else None, headers=token)
        assert (answer.status_code, kind(answer.json())) == (404, "not-found")


async def test_someone_elses_session_is_refused_whatever_is_asked_of_it(served: Served) -> None:
    path, _ = await served.visit("C-001")
    _, stranger = await served.visit("C-002")
    for method, tail in (("POST", "/turns"), ("GET", ""), ("GET", "/events")):
        answer = await served.http.request(
            method, path + tail, json={"text": "a"} if method == "POST" else None, headers=stranger
        )
        assert (answer.status_code, kind(answer.json())) == (403, "not-allowed")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic abc"}])
async def test_without_a_token_there_is_no_access(served: Served, headers: dict[str, str]) -> None:
    path, _ = await served.visit()
    answer = await served.http.post(f"{path}/turns", json={"text": "a"}, headers=headers)
    assert (answer.status_code, kind(answer.json())) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["abc", "abc.def", "W10.W10", "é.é", "a" * 5000])
async def test_a_forged_token_opens_nothing(served: Served, token: str) -> None:
    path, _ = await served.visit()
    headers = {b"Authorization": f"Bearer {token}".encode()}
    assert (await served.http.get(path, headers=headers)).status_code == 403
    assert (await served.http.post("/v1/sessions", json={"customer_token": token})).status_code in (403, 422)


async def test_a_customers_token_does_not_open_a_session(served: Served) -> None:
    path, _ = await served.visit()
    token = (await served.http.post("/v1/dev/customer-tokens", json={"customer_id": "C-001"})).json()["customer_token"]
    assert (await served.http.get(path, headers={"Authorization": f"Bearer {token}"})).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [({"locale": "fr"}, "locale"), ({"pack": "bank"}, "pack"), ({"context": 5}, "context"), ({"color": "red"}, "color")],
)
async def test_a_session_that_cannot_be_opened_says_why(served: Served, body: dict[str, object], field: str) -> None:
    answer = await served.http.post("/v1/sessions", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "/v1/nothing", 404, "not-found"),
        ("PUT", "/v1/sessions", 405, "method-not-allowed"),
        ("GET", "/console/../app.py", 404, "not-found"),
    ],
)
async def test_a_wrong_address_is_a_problem_too(served: Served, method: str, path: str, status: int, expected: str) -> None:
    answer = await served.http.request(method, path)
    assert (answer.status_code, kind(answer.json())) == (status, expected)


@pytest.mark.parametrize("last", ["abc", "-1", "1e9"])
async def test_a_place_to_resume_that_is_none_is_named(served: Served, last: str) -> None:
    path, token = await served.visit()
    answer = await served.http.get(f"{path}/events", headers=token | {"Last-Event-ID": last})
    assert (answer.status_code, kind(answer.json())) == (422, "bad-input")
    assert "last-event-id" in answer.json()["field"].lower()
