"""Counts every HTTP response by route and status. Plain ASGI: a stream passes chunk by chunk, with no task and no queue."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import Metrics


class Counted:
    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answered = False

        async def noting(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start" and not answered:
                answered = True
                self._count(scope, message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            if not answered:
                self._count(scope, 500)
            raise

    def _count(self, scope: Scope, status: int) -> None:
        """The router has put its route into the scope by now, where one matched."""
        self._metrics.request(scope["method"], getattr(scope.get("route"), "path", "unmatched"), status)
