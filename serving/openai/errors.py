"""Errors in OpenAI's shape, on OpenAI's routes alone; everywhere else they stay problem+json."""

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from agents.domain.errors import BadInput, KeepwordError, Overloaded
from serving.http.problems import problem
from serving.openai.schemas import ErrorBody, ErrorInfo

PATHS: Final = ("/v1/chat/", "/v1/completions", "/v1/embeddings", "/v1/models")
INVALID, SERVER = "invalid_request_error", "server_error"
RETRY_AFTER_S: Final = 2
SHAPES: Final[Mapping[str, tuple[int, str]]] = {
    "bad-input": (400, INVALID),
    "bad-json": (400, INVALID),
    "text-too-long": (400, INVALID),
    "history-unknown": (400, INVALID),
    "unauthorized": (401, "authentication_error"),
    "not-allowed": (403, "permission_error"),
    "not-found": (404, INVALID),
    "model-not-found": (404, INVALID),
    "method-not-allowed": (405, INVALID),
    "turn-in-progress": (409, "conflict_error"),
    "body-too-large": (413, INVALID),
    "media-type": (415, INVALID),
    "overloaded": (429, "rate_limit_error"),
    "empty-output": (502, SERVER),
    "truncated-output": (502, SERVER),
    "invalid-output": (502, SERVER),
    "engine-unavailable": (503, SERVER),
    "store-unavailable": (503, SERVER),
    "deadline-exceeded": (504, SERVER),
}
DOCUMENTED: Final = (400, 401, 403, 404, 409, 413, 415, 429, 502, 503, 504)
Handler = Callable[[Request, Exception], Awaitable[Response]]


class ModelNotFound(KeepwordError):
    type = "model-not-found"


def is_openai(path: str) -> bool:
    return path.startswith(PATHS)


def error_response(
    kind: str, message: str, *, param: str | None = None, retry_after_s: float | None = None, status: int | None = None
) -> JSONResponse:
    """`kind` is our stable name of the error: it is the answer's `code`."""
    code, category = SHAPES.get(kind, (500, SERVER))
    code = status or code
    wait = retry_after_s if retry_after_s is not None else RETRY_AFTER_S if code in (409, 429, 503) else None
    headers = {} if wait is None else {"Retry-After": str(math.ceil(wait))}
    headers |= {"WWW-Authenticate": "Bearer"} if code == 401 else {}
    return JSONResponse(error_body(kind, message, param, category), code, headers=headers)


def error_body(kind: str, message: str, param: str | None = None, category: str | None = None) -> dict[str, Any]:
    category = category or SHAPES.get(kind, (500, SERVER))[1]
    return ErrorBody(error=ErrorInfo(message=message, type=category, param=param, code=kind)).model_dump()


def refusal(kind: str, detail: str, *, hint: str, path: str) -> JSONResponse:
    """A body that no handler should see, refused in the shape of its path."""
    return error_response(kind, f"{detail}. {hint}") if is_openai(path) else problem(kind, detail, hint=hint)


def of(error: KeepwordError) -> JSONResponse:
    """The answer for an error of ours."""
    message = f"{error.message}. {error.hint}" if error.hint else error.message
    param = error.field if isinstance(error, BadInput) else None
    wait = error.retry_after_s if isinstance(error, Overloaded) else None
    return error_response(error.type, message, param=param, retry_after_s=wait)


def in_stream(error: KeepwordError) -> bytes:
    """An error that came after the first byte: OpenAI sends it as an event, and clients raise it."""
    param = error.field if isinstance(error, BadInput) else None
    body = error_body(error.type, error.message, param)
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def invalid(error: RequestValidationError) -> JSONResponse:
    """The first mistake of a body, by the name OpenAI's clients know: `messages[2].content`."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return error_response("bad-json", f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    param = _name(first["loc"])
    if first["type"] == "extra_forbidden":
        return error_response("bad-input", f"unknown parameter: {param}. It would be ignored, so it is refused", param=param)
    return error_response("bad-input", f"{param or 'the body'}: {first['msg']}", param=param or None)


def _name(location: tuple[int | str, ...]) -> str:
    name = ""
    for part in location[1:]:
        if isinstance(part, int):
            name += f"[{part}]"
        elif part.isidentifier():  # pydantic also names the member of a union it tried; those are no names of fields
            name += f".{part}" if name else part
    return name


def install(app: FastAPI, *, everywhere: bool = False) -> None:
    """Give errors OpenAI's shape on its paths (or `everywhere`); other paths keep the handlers that `app` has by now."""

    def split(kind: type[Exception], ours: Callable[[Exception], Response]) -> None:
        before = cast("Handler | None", app.exception_handlers.get(kind))

        async def handle(request: Request, error: Exception) -> Response:
            if everywhere or before is None or is_openai(request.url.path):
                return ours(error)
            return await before(request, error)

        app.add_exception_handler(kind, handle)

    split(KeepwordError, lambda error: of(cast(KeepwordError, error)))
    split(RequestValidationError, lambda error: invalid(cast(RequestValidationError, error)))
    split(HTTPException, lambda error: _http(cast(HTTPException, error)))
    split(Exception, lambda error: error_response("internal", f"{type(error).__name__}; it is in the log"))


def document(app: FastAPI) -> None:
    """Take out of the OpenAPI document what FastAPI says of every body, and these routes never answer: a 422."""
    written = app.openapi

    def openapi() -> dict[str, Any]:
        whole = written()
        for path, operations in whole["paths"].items():
            if is_openai(path):
                for operation in operations.values():
                    operation["responses"].pop("422", None)
        return whole

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of extending it


def _http(error: HTTPException) -> JSONResponse:
    kinds = {401: "unauthorized", 403: "not-allowed", 404: "not-found", 405: "method-not-allowed"}
    answer = error_response(kinds.get(error.status_code, "bad-request"), str(error.detail), status=error.status_code)
    answer.headers.update(error.headers or {})
    return answer


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route: every error in the one shape."""
    return {status: {"model": ErrorBody} for status in statuses or DOCUMENTED}
