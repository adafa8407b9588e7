"""Every HTTP request counted, timed and traced. Plain ASGI and the outermost layer: it sees what other layers answer too."""

from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.observe.metrics import HttpMetrics
from serving.observe.traces import Fact, Traces

EVENT_STREAM: Final = b"text/event-stream"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_LEFT: Final = 499  # counted for a request that got no answer because nobody was there any more
BROKE: Final = 500


class HttpObserver:
    """Adds nothing to a request or its answer and takes nothing away."""

    def __init__(self, app: ASGIApp, *, metrics: HttpMetrics, traces: Traces) -> None:
        self._app, self._metrics, self._traces = app, metrics, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "other"
        began, head, status, streams = perf_counter(), 0.0, 0, False

        async def passed_on(message: Message) -> None:
            nonlocal head, status, streams
            if message["type"] == "http.response.start":
                head, status = perf_counter(), message["status"]
                if not streams and _is_stream(message):
                    streams = True
                    self._metrics.streams.inc()
            await send(message)

        try:
            with self._traces.span(f"http {method}", _traceparent(scope)) as span:
                await self._app(scope, receive, passed_on)
                facts: dict[str, Fact] = {"http.route": _route(scope), "http.response.status_code": status or CLIENT_LEFT}
                span.tell(**facts)
        except Exception:
            status = status or BROKE  # the layer outside answers it with a problem
            raise
        finally:
            if streams:
                self._metrics.streams.dec()
            self._metrics.answered(method, _route(scope), status or CLIENT_LEFT, (head or perf_counter()) - began)


def _route(scope: Scope) -> str:
    """The route's pattern, never the path: a path names a session, and would make a series of its own."""
    route = getattr(scope.get("route"), "path", None)
    if route is not None:
        return str(route)
    mounted = str(scope["root_path"]).removeprefix(scope["app_root_path"]) if "app_root_path" in scope else ""
    return mounted or "unmatched"


def _is_stream(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(EVENT_STREAM) for name, value in message.get("headers", ()))


def _traceparent(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), "")
