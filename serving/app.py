"""The FastAPI app: routes, problems, the body guard, health, metrics and the console page, over a Desk."""

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST

from serving.http import problems
from serving.http.body import BodyGuard
from serving.http.desk import Desk
from serving.http.observed import HttpObserver
from serving.http.operators import router as operators_router
from serving.http.routes import router
from serving.http.schemas import Health
from serving.openai import errors
from serving.openai.routes import OpenAIApi
from serving.openai.routes import router as openai_router

CORS_HEADERS = ("Authorization", "X-API-Key", "Idempotency-Key", "Last-Event-ID", "Keepword-Deadline-Ms", "X-Request-Timeout")
CONSOLE = Path(__file__).parent / "console"
CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'"


def create_app(desk: Desk, openai: OpenAIApi) -> FastAPI:
    """Pure composition: nothing is opened here."""
    app = FastAPI(
        title="Keepword",
        version="0.1.0",
        description="Customer-service agents that keep their word. Errors are RFC 9457 problem+json with a stable `type`; "
        "on the OpenAI-compatible routes they have OpenAI's shape.",
        redoc_url=None,
    )
    app.state.desk, app.state.openai = desk, openai
    problems.install(app)
    errors.install(app)
    app.include_router(router)
    app.include_router(operators_router)
    app.include_router(openai_router())
    app.add_middleware(BodyGuard, max_bytes=desk.settings.max_body_bytes, refuse=errors.refusal)
    if desk.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=desk.settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=CORS_HEADERS,
            expose_headers=["Retry-After"],
            max_age=600,
        )
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

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus text format: every replica's metrics, whichever replica answers."""
        return Response(await desk.scrape.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(CONSOLE / "index.html", headers={"Content-Security-Policy": CSP, "Cache-Control": "no-cache"})

    errors.document(app)
    app.mount("/console", StaticFiles(directory=CONSOLE), name="console")
    return app
