"""Health, readiness, metrics, schema, page: what operators and browsers ask for."""

import pytest

from tests.serving.http.conftest import Served

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_readiness_names_what_is_missing(served: Served) -> None:
    assert (await served.http.get("/readyz")).json() == {"status": "ready", "detail": {}}
    served.engine_down.append("the engine starts")
    answer = await served.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "detail": {"engine": "the engine starts"}}
    assert (await served.http.get("/healthz")).status_code == 200


async def test_metrics_count_turns_and_requests_by_route(served: Served) -> None:
    path, token = await served.visit()
    await served.http.post(f"{path}/turns", json={"text": "hello"}, headers=token)
    text = (await served.http.get("/metrics")).text
    assert "keepword_turns_total{" in text
    assert 'route="/v1/sessions/{session_id}/turns"' in text
    assert path not in text


async def test_the_schema_describes_the_problems(served: Served) -> None:
    schema = (await served.http.get("/openapi.json")).json()
    turn = schema["paths"]["/v1/sessions/{session_id}/turns"]["post"]["responses"]
    assert {"200", "401", "403", "404", "409", "413", "415", "422", "503"} <= set(turn)


async def test_the_page_allows_only_its_own_scripts(served: Served) -> None:
    page = await served.http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]


async def test_a_desk_that_is_no_development_desk_gives_no_test_customers(served: Served) -> None:
    settings = served.desk.settings
    served.desk.settings = settings.model_copy(update={"dev": False})
    try:
        for method, path in (("GET", "/v1/dev/customers"), ("POST", "/v1/dev/customer-tokens")):
            body = {"customer_id": "C-001"} if method == "POST" else None
            assert (await served.http.request(method, path, json=body)).status_code == 404
        assert (await served.http.get("/v1/handoffs")).status_code == 401
    finally:
        served.desk.settings = settings


async def test_a_promised_handoff_is_listed_for_the_operator(served: Served) -> None:
    path, token = await served.visit("C-007")
    await served.http.post(f"{path}/turns", json={"text": "I want to speak to a human agent now"}, headers=token)
    found = (await served.http.get("/v1/handoffs")).json()
    assert any(path.endswith(each["session_id"]) for each in found)
