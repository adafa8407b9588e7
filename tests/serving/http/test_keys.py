"""A desk that asks for keys: who may do what, within which limits, and from where."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from serving.admission.keys import KeyRecord, new_key
from serving.admission.tickets import Limits, Scope
from serving.app import create_app
from serving.clock import SystemClock
from serving.http.desk import Desk
from serving.settings import Settings
from serving.stores.api_keys import ApiKeyStore
from serving.wiring import open_desk
from tests.serving.http.conftest import HELD, HoldingModel

pytestmark = pytest.mark.asyncio(loop_scope="module")
ORIGIN = "https://shop.example"


@dataclass
class Guarded:
    http: httpx.AsyncClient
    desk: Desk
    model: HoldingModel
    keys: ApiKeyStore

    async def key(self, *scopes: Scope, tenant: str = "acme", limits: Limits | None = None) -> dict[str, str]:
        """A new key's header."""
        key, key_id, digest = new_key()
        await self.keys.add(KeyRecord(key_id, digest, tenant, key_id, frozenset(scopes), limits or Limits()))
        return {"Authorization": f"Bearer {key}"}

    async def visit(self, key: dict[str, str], customer: str | None = None, tenant: str = "") -> tuple[str, dict[str, str]]:
        token = None if customer is None else self.desk.tokens.make("customer", customer, tenant=tenant)
        answer = await self.http.post("/v1/sessions", json={"customer_token": token}, headers=key)
        opened = answer.raise_for_status().json()
        return f"/v1/sessions/{opened['session_id']}", {"Authorization": f"Bearer {opened['session_token']}"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    settings = Settings.load(data_dir=folder, host="0.0.0.0", cors_origins=f"{ORIGIN}, https://other.example")
    model = HoldingModel()

    async def ready() -> None:
        """It is."""

    opened = await open_desk(settings, model, SystemClock(), engine_ready=ready)
    transport = httpx.ASGITransport(create_app(opened.desk, opened.openai))
    async with httpx.AsyncClient(base_url="http://desk", transport=transport, timeout=30) as http:
        yield Guarded(http, opened.desk, model, opened.desk.keys._store)  # type: ignore[arg-type]
    await opened.close()


async def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:keepword:")


async def test_without_a_key_nothing_is_opened(guarded: Guarded) -> None:
    for method, path in (("POST", "/v1/sessions"), ("GET", "/v1/handoffs"), ("POST", "/v1/handoffs/h1/claim")):
        answer = await guarded.http.request(method, path, json={} if method == "POST" else None)
        assert await refusal(answer) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert (await guarded.http.get("/v1/dev/customers")).status_code == 404


async def test_a_key_opens_what_its_scopes_say(guarded: Guarded) -> None:
    turns, operator, admin = [await guarded.key(each) for each in (Scope.TURNS, Scope.OPERATOR, Scope.ADMIN)]
    statuses = {
        "turns": [
            (await guarded.http.post("/v1/sessions", json={}, headers=key)).status_code for key in (turns, operator, admin)
        ],
        "handoffs": [(await guarded.http.get("/v1/handoffs", headers=key)).status_code for key in (turns, operator, admin)],
    }
    assert statuses == {"turns": [201, 403, 201], "handoffs": [403, 200, 200]}


async def test_a_key_that_is_wrong_or_revoked_opens_nothing(guarded: Guarded) -> None:
    key = await guarded.key(Scope.TURNS)
    path, token = await guarded.visit(key)
    wrong = {"Authorization": key["Authorization"][:-1] + "?"}
    assert await refusal(await guarded.http.post("/v1/sessions", json={}, headers=wrong)) == (403, "not-allowed")
    await guarded.keys.revoke(key["Authorization"].split("_")[1], SystemClock().now())
    guarded.desk.keys._cache.clear()  # two seconds later
    assert await refusal(await guarded.http.post("/v1/sessions", json={}, headers=key)) == (403, "not-allowed")
    turn = await guarded.http.post(f"{path}/turns", json={"text": "hello"}, headers=token)
    assert await refusal(turn) == (403, "not-allowed")


async def test_a_tenants_key_speaks_for_its_own_sessions_and_customers_only(guarded: Guarded) -> None:
    acme, other, house = [await guarded.key(Scope.TURNS, tenant=each) for each in ("acme", "other", "")]
    path, token = await guarded.visit(acme)
    assert [(await guarded.http.get(path, headers=key)).status_code for key in (acme, other, house)] == [200, 403, 200]
    assert (await guarded.http.get(path, headers={"X-API-Key": acme["Authorization"].removeprefix("Bearer ")})).is_success
    assert (await guarded.http.get(path, headers=token)).is_success
    theirs = guarded.desk.tokens.make("customer", "C-001", tenant="acme")
    answer = await guarded.http.post("/v1/sessions", json={"customer_token": theirs}, headers=other)
    assert await refusal(answer) == (403, "not-allowed")


async def test_a_session_of_a_key_belongs_to_its_tenant(guarded: Guarded) -> None:
    path, token = await guarded.visit(await guarded.key(Scope.TURNS, tenant="acme"), "C-003")
    assert (await guarded.http.post(f"{path}/turns", json={"text": "hello"}, headers=token)).json()["outcome"] == "done"
    assert await guarded.desk.operators.handoffs.session_tenant(path.rsplit("/", 1)[1]) == "acme"


async def test_used_up_tokens_are_answered_with_429_and_when_to_come_back(guarded: Guarded) -> None:
    key = await guarded.key(Scope.TURNS, tenant="small", limits=Limits(tokens_per_minute=100))
    _, token = await guarded.visit(key)
    answers = []
    for _ in range(3):
        path, token = await guarded.visit(key)
        answers.append(await guarded.http.post(f"{path}/turns", json={"text": "hello"}, headers=token))
        if answers[-1].status_code == 429:
            break
    assert await refusal(answers[-1]) == (429, "overloaded")
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


async def test_a_turn_beyond_the_tenants_bound_waits_for_the_one_that_runs(guarded: Guarded) -> None:
    key = await guarded.key(Scope.TURNS, tenant="narrow", limits=Limits(turns_in_flight=1))
    (one, first), (other, second) = await guarded.visit(key), await guarded.visit(key)
    running = asyncio.create_task(guarded.http.post(f"{one}/turns", json={"text": HELD}, headers=first))
    await guarded.model.waiting.wait()
    late = second | {"Keepword-Deadline-Ms": "100"}
    assert await refusal(await guarded.http.post(f"{other}/turns", json={"text": "hello"}, headers=late)) == (429, "overloaded")
    waiting = asyncio.create_task(guarded.http.post(f"{other}/turns", json={"text": "hello"}, headers=second))
    while not guarded.desk.admission.gate.waiting(0):  # type: ignore[arg-type]
        await asyncio.wait([waiting], timeout=0.01)
    guarded.model.go_on.set()
    assert [(await each).json()["outcome"] for each in (running, waiting)] == ["done", "done"]


@pytest.mark.parametrize("header", [{"Keepword-Deadline-Ms": "soon"}, {"X-Request-Timeout": "-1"}])
async def test_a_deadline_that_is_none_is_named(guarded: Guarded, header: dict[str, str]) -> None:
    path, token = await guarded.visit(await guarded.key(Scope.TURNS))
    answer = await guarded.http.post(f"{path}/turns", json={"text": "hello"}, headers=token | header)
    assert await refusal(answer) == (422, "bad-input")
    assert answer.json()["field"] == next(iter(header)).lower()


async def test_pages_of_the_allowed_origins_may_call_and_no_others(guarded: Guarded) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,keepword-deadline-ms"}
    allowed = await guarded.http.options("/v1/sessions", headers=asks | {"Origin": ORIGIN})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    stranger = await guarded.http.options("/v1/sessions", headers=asks | {"Origin": "https://evil.example"})
    assert stranger.status_code == 400
    assert "access-control-allow-origin" not in stranger.headers


async def test_an_operator_takes_a_handoff_and_the_customer_reads_the_reply(guarded: Guarded) -> None:
    path, token = await guarded.visit(await guarded.key(Scope.TURNS, tenant="acme"), "C-007")
    await guarded.http.post(f"{path}/turns", json={"text": "I want to speak to a human agent now"}, headers=token)
    alice, bob = [await guarded.key(Scope.OPERATOR, tenant="acme") for _ in range(2)]
    listed = (await guarded.http.get("/v1/handoffs", headers=alice)).json()
    handoff = next(each["id"] for each in listed if path.endswith(each["session_id"]))
    base = f"/v1/handoffs/{handoff}"
    assert (await guarded.http.get(path, headers=alice)).is_success
    assert (await guarded.http.post(f"{base}/claim", headers=alice)).json()["claimed_by"]
    assert await refusal(await guarded.http.post(f"{base}/claim", headers=bob)) == (409, "handoff-taken")
    meanwhile = await guarded.http.post(f"{path}/turns", json={"text": "Refund my order KW-1009 please"}, headers=token)
    assert meanwhile.json()["reply"] == guarded.desk.pack.texts["with_person"]["en"]
    said = await guarded.http.post(f"{base}/reply", json={"text": "I have found your parcel."}, headers=alice)
    assert said.is_success
    assert (await guarded.http.post(f"{base}/close", headers=alice)).json()["closed_at"]
    transcript = (await guarded.http.get(path, headers=token)).json()["transcript"]
    assert transcript[-1] == {"who": "operator", "text": "I have found your parcel."}
    again = await guarded.http.post(f"{path}/turns", json={"text": "thank you"}, headers=token)
    assert again.json()["outcome"] == "done"
    assert again.json()["reply"] != meanwhile.json()["reply"]
