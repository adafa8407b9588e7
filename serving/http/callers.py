"""Who sent a request: an API key made a `Caller`, as a FastAPI dependency.

    @router.post("/chat/completions")
    async def chat(caller: Annotated[Caller, Depends(needs(Scope.CHAT))]) -> ...

The key comes as `Authorization: Bearer kw_…` or `X-API-Key: kw_…`. A desk that asks for no keys (development on loopback, or
KEEPWORD_REQUIRE_KEYS=false) takes a request without one as the house's own; a key that is sent is checked everywhere.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Header, Request

from agents.domain.errors import BadInput, NotAllowed
from serving.admission.keys import HOUSE, PREFIX
from serving.admission.tickets import Caller, Scope
from serving.http.problems import HttpProblem

BEARER = "Bearer "
MAX_DEADLINE_MS = 3_600_000
Authorization = Annotated[str | None, Header(description="`Bearer <API key or session token>`")]
ApiKey = Annotated[str | None, Header(description="An API key, where Authorization carries a session token.")]


def key_in(authorization: str | None, x_api_key: str | None) -> str | None:
    """The API key of a request, wherever it stands."""
    if x_api_key is not None:
        return x_api_key.strip()
    if authorization is not None and authorization.startswith(BEARER + PREFIX):
        return authorization.removeprefix(BEARER).strip()
    return None


async def caller_of(request: Request, key: str | None, *scopes: Scope) -> Caller:
    """Who holds `key`. Raises `unauthorized` without a key where one is needed, NotAllowed for a wrong key or one that opens
    none of `scopes`."""
    desk = request.app.state.desk
    if key is None:
        if desk.settings.wants_keys:
            raise HttpProblem("unauthorized", "no API key", hint="Send Authorization: Bearer <key>; `keepword keys create`.")
        return HOUSE
    caller: Caller = await desk.keys.caller(key)
    if scopes and not any(caller.may(scope) for scope in scopes):
        wanted = " or ".join(f"`{scope}`" for scope in scopes)
        raise NotAllowed(f"this API key does not open this: it lacks the scope {wanted}", hint="Use another key.")
    return caller


def needs(*scopes: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller, who has one of `scopes`."""

    async def caller(request: Request, authorization: Authorization = None, x_api_key: ApiKey = None) -> Caller:
        return await caller_of(request, key_in(authorization, x_api_key), *scopes)

    return caller


async def deadline_s(request: Request) -> float:
    """A dependency: how long the client waits, from `Keepword-Deadline-Ms` (milliseconds) or `X-Request-Timeout` (seconds),
    else the desk's own. Raises BadInput."""
    for header, unit_s in (("keepword-deadline-ms", 0.001), ("x-request-timeout", 1.0)):
        value = request.headers.get(header)
        if value is None:
            continue
        try:
            wanted = float(value) * unit_s
        except ValueError:
            wanted = -1.0
        if not 0 < wanted <= MAX_DEADLINE_MS / 1000:
            hint = "A number above 0: milliseconds in Keepword-Deadline-Ms, seconds in X-Request-Timeout; at most an hour."
            raise BadInput(f"{header} is {value[:40]!r}", field=header, hint=hint)
        return wanted
    own: float = request.app.state.desk.settings.deadline_s
    return own
