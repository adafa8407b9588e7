"""Guards the body before anything parses it: size, media type, encoding, nesting. Plain ASGI: streams pass untouched."""

import re
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.problems import problem

MAX_NESTING = 32
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]')
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Refuse(Protocol):
    """Writes a refusal: `kind` is a problem's, `path` the request's."""

    def __call__(self, kind: str, detail: str, *, hint: str, path: str) -> ASGIApp: ...


class BodyGuard:
    """Reads a request's body whole (at most `max_bytes`), refuses what no handler should see, and replays it."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, refuse: Refuse | None = None) -> None:
        self._app, self._max_bytes, self._refuse = app, max_bytes, refuse or _problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in WITH_BODY:
            await self._app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                hint = f"At most {self._max_bytes} bytes."
                detail = "the body is larger than this desk accepts"
                await self._refuse("body-too-large", detail, hint=hint, path=scope["path"])(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        refusal = _refusal(body, dict(scope["headers"]).get(b"content-type", b""))
        if refusal is not None:
            kind, detail, hint = refusal
            await self._refuse(kind, detail, hint=hint, path=scope["path"])(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


def _problem(kind: str, detail: str, *, hint: str, path: str) -> ASGIApp:
    return problem(kind, detail, hint=hint)


def _refusal(body: bytes, content_type: bytes) -> tuple[str, str, str] | None:
    """(problem kind, detail, hint), or None for a body that may be parsed."""
    if not body:
        return None
    media = content_type.split(b";")[0].strip().lower()
    if media != b"application/json":
        return "media-type", f"content-type is {media.decode('latin-1')!r}", "Send content-type: application/json."
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        return "bad-json", f"the body is not UTF-8 at byte {error.start}", "Encode the body as UTF-8."
    if text.count("{") + text.count("[") <= MAX_NESTING:
        return None
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match.group(), 0)
        if depth > MAX_NESTING:
            return "bad-json", f"nested deeper than {MAX_NESTING} levels", "No request of this API nests that deep."
    return None


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
