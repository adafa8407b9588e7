"""Errors as RFC 9457 problem+json, from one table. `type` is stable: clients may switch on it."""

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from agents.domain.errors import BadInput, KeepwordError, Overloaded

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:keepword:"
STATUS: Mapping[str, tuple[int, str]] = {
    "bad-input": (422, "The request is not valid"),
    "text-too-long": (422, "The text is too long"),
    "images-not-supported": (422, "Images cannot be read here"),
    "bad-json": (400, "The body is not JSON"),
    "method-not-allowed": (405, "This address does not take this method"),
    "body-too-large": (413, "The body is too large"),
    "media-type": (415, "The body must be application/json"),
    "unauthorized": (401, "A token is needed"),
    "not-allowed": (403, "This is not yours"),
    "not-found": (404, "There is no such thing"),
    "caller-left": (499, "The client left"),
    "turn-in-progress": (409, "The session is answering another message"),
    "handoff-taken": (409, "The handoff is another's"),
    "overloaded": (429, "Too many requests"),
    "engine-unavailable": (503, "The engine does not answer"),
    "store-unavailable": (503, "The database does not answer"),
}
RETRY_AFTER_S = 2


class Problem(BaseModel):
    """RFC 9457, with our `hint` and, where one is to blame, `field`."""

    type: str
    title: str
    status: int
    detail: str
    hint: str = ""
    field: str | None = None


class HttpProblem(KeepwordError):
    """A refusal that only HTTP knows: its `type` is a key of STATUS."""

    def __init__(self, kind: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.type = kind


def problem(kind: str, detail: str, *, hint: str = "", field: str | None = None, status: int | None = None) -> JSONResponse:
    code, title = STATUS.get(kind, (500, "Something broke on our side"))
    code = status or code
    body = Problem(type=TYPE_PREFIX + kind, title=title, status=code, detail=detail, hint=hint, field=field)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if code in (409, 429, 503) else {}
    headers |= {"WWW-Authenticate": "Bearer"} if code == 401 else {}
    return JSONResponse(body.model_dump(exclude_none=True), code, headers=headers, media_type=MEDIA_TYPE)


def problem_of(error: KeepwordError) -> JSONResponse:
    field = error.field if isinstance(error, BadInput) else None
    answer = problem(error.type, error.message, hint=error.hint, field=field)
    if isinstance(error, Overloaded):
        answer.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    return answer


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""

    @app.exception_handler(KeepwordError)
    async def ours(_request: Request, error: KeepwordError) -> JSONResponse:
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return problem("bad-json", f"not JSON: {first.get('ctx', {}).get('error', first['msg'])}")
        field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        hint = "Leave it out." if first["type"] == "extra_forbidden" else "See /docs for the schema."
        return problem("bad-input", f"{field}: {first['msg']}", field=field, hint=hint)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        kinds = {
            401: "unauthorized",
            403: "not-allowed",
            404: "not-found",
            405: "method-not-allowed",
            413: "body-too-large",
            415: "media-type",
        }
        answer = problem(kinds.get(error.status_code, "bad-request"), str(error.detail), status=error.status_code)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def broken(_request: Request, error: Exception) -> JSONResponse:
        return problem(
            "internal", f"{type(error).__name__}; it is in the log", hint="Try again; if it stays, tell the operator."
        )


def responses(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route that can answer these problems."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, title = STATUS[kind]
        found[status] = {"model": Problem, "description": title, "content": {MEDIA_TYPE: {}}}
    return found
