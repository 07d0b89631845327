"""Health, metrics, and the documentation page."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from tidegate.domain.exposition import CONTENT_TYPE
from tidegate.entrypoints.http.context import ServicePart
from tidegate.entrypoints.http.documentation import METRICS, reply_example

router = APIRouter()

ASSETS = "/docs/assets"


@router.get("/healthz", tags=["Operations"], responses=reply_example("alive"))
async def healthz() -> dict[str, str]:
    """Say that the process is alive and answers."""
    return {"status": "ok"}


@router.get("/readyz", tags=["Operations"], responses=reply_example("ready"))
async def readyz(service: ServicePart) -> Response:
    """Say whether work can be taken, and how each component is: 200, or 503 with the reasons."""
    readiness = await service.status.readiness()
    body = msgspec.json.encode(readiness)
    status = 200 if readiness.ready else 503
    return Response(body, status_code=status, media_type="application/json")


@router.get("/metrics", tags=["Operations"], response_class=PlainTextResponse, responses=METRICS)
async def metrics(service: ServicePart) -> Response:
    """Return the metrics in Prometheus' text format."""
    text = service.metrics_text()
    return Response(text, media_type=CONTENT_TYPE)


def install_docs(app: FastAPI) -> None:
    """Serve the documentation page from files of our own installation, with no other host."""
    app.mount(ASSETS, StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title="Tidegate API",
            swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{ASSETS}/favicon-32x32.png",
            swagger_ui_parameters={"tryItOutEnabled": True, "persistAuthorization": False},
        )
