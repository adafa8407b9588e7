"""The FastAPI app: routes, problems, the body guard, health, metrics and the console page, over a Desk."""

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST

from serving.http import problems
from serving.http.body import BodyGuard
from serving.http.desk import Desk
from serving.http.observed import HttpObserver
from serving.http.routes import router
from serving.http.schemas import Health

CONSOLE = Path(__file__).parent / "console"
CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'"


def create_app(desk: Desk) -> FastAPI:
    """Pure composition: nothing is opened here."""
    app = FastAPI(
        title="Keepword",
        version="0.1.0",
        description="Customer-service agents that keep their word. Errors are RFC 9457 problem+json with a stable `type`.",
        redoc_url=None,
    )
    app.state.desk = desk
    problems.install(app)
    app.include_router(router)
    app.add_middleware(BodyGuard, max_bytes=desk.settings.max_body_bytes)
    app.add_middleware(HttpObserver, metrics=desk.metrics.http, traces=desk.traces)  # the last one added is the outermost

    @app.get("/healthz", tags=["health"])
    async def healthz() -> Health:
        """The process lives."""
        return Health(status="ok")

    @app.get("/readyz", tags=["health"], responses={503: {"model": Health, "description": "Not now"}})
    async def readyz() -> Response:
        """A turn can be served now."""
        missing = await desk.not_ready()
        health = Health(status="not ready" if missing else "ready", detail=missing)
        return JSONResponse(health.model_dump(), 503 if missing else 200)

    @app.get("/metrics", tags=["health"])
    async def metrics() -> Response:
        """Prometheus text format: every replica's metrics, whichever replica answers."""
        return Response(await desk.scrape.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(CONSOLE / "index.html", headers={"Content-Security-Policy": CSP, "Cache-Control": "no-cache"})

    app.mount("/console", StaticFiles(directory=CONSOLE), name="console")
    return app
