"""Counts requests by route and status. Plain ASGI: a stream's chunks pass untouched."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import Metrics

BROKEN = 500


class Counted:
    """A request counts when it has ended, by the status it was answered with."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = BROKEN

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.request(scope["method"], route, status)
