"""FastAPI application: routes, faces, middleware and lifespan."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from api import problems
from api.a1111 import extras as a1111_extras
from api.a1111 import machine as a1111_machine
from api.a1111 import options as a1111_options
from api.a1111 import progress as a1111_progress
from api.a1111 import render as a1111_render
from api.a1111.errors import a1111_error
from api.comfyui import install as comfyui
from api.comfyui.errors import PATHS as COMFYUI_PATHS
from api.comfyui.errors import comfyui_error
from api.farm import Farm
from api.http_headers import HeadAsGet, SecurityHeaders
from api.mcp.mount import PATH as MCP_PATH
from api.mcp.mount import McpFace
from api.metrics import Metrics, MetricsMiddleware
from api.openai.errors import OTHER_PATHS, openai_error, problem_with_openai_error
from api.openai.routes import router as openai_router
from api.openapi_document import completed
from api.page import Page
from api.public_address import PublicAddressMiddleware, use_configured
from api.request_guard import RequestGuard
from api.routes import (
    api_keys,
    batches,
    choices,
    collections,
    estimate,
    exports,
    farm_events,
    gallery,
    health,
    images,
    job_events,
    jobs,
    join,
    loras,
    model_changes,
    model_loading,
    model_operations,
    models,
    nodes,
    parameters,
    presets,
    queue,
    recipes,
    refine,
    scaling,
    session,
    statistics,
    styles,
    uploads,
    upscales,
    usage,
    webhooks,
    wildcards,
    workers,
)
from core.settings import Settings
from core.version import VERSION
from storage.stores import link_origin

logger = logging.getLogger(__name__)

_ROUTES = (
    batches,
    jobs,
    job_events,
    farm_events,
    estimate,
    gallery,
    images,
    collections,
    refine,
    exports,
    parameters,
    uploads,
    model_operations,
    model_changes,
    upscales,
    models,
    loras,
    model_loading,
    presets,
    recipes,
    styles,
    wildcards,
    workers,
    nodes,
    join,
    queue,
    scaling,
    usage,
    statistics,
    api_keys,
    choices,
    webhooks,
    session,
    health,
)
_ERROR_SHAPES: Mapping[str, problems.Shape] = MappingProxyType(
    {
        **{f"/v1/images/{name}": openai_error for name in ("generations", "edits", "variations")},
        "/v1/models": problem_with_openai_error,
        **dict.fromkeys(OTHER_PATHS, openai_error),
        **dict.fromkeys(("/sdapi/", "/internal/"), a1111_error),
    }
)
_ABOUT = "Submit prompts, follow their jobs, fetch the images. Errors are problem details (RFC 9457) with a stable `code`."


class Application(FastAPI):
    """FastAPI whose outermost middleware also wraps its handler of unexpected errors."""

    def __init__(self, settings: Settings, **options: Any) -> None:  # noqa: ANN401 -- FastAPI's own
        super().__init__(**options)
        self._settings = settings

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = completed(super().openapi())
        return self.openapi_schema

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap FastAPI's stack."""
        return SecurityHeaders(HeadAsGet(PublicAddressMiddleware(super().build_middleware_stack(), self._settings)))


def create_app(settings: Settings) -> FastAPI:
    """Create the application over the database, Redis and image store of `settings`; it opens them when it starts."""
    measured = Metrics()
    app = Application(
        settings,
        title="imagefarm",
        version=VERSION,
        description=_ABOUT,
        routes=_routes(),
        lifespan=_lifespan(settings, measured),
        servers=[{"url": ".", "description": "Where this document was read from."}],
        docs_url=None,  # FastAPI's pages load scripts from a CDN; web/docs.html does not
        redoc_url=None,
        # FastAPI would look for providers at each request; core/tracing.py and api/metrics.py are the farm's own.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.router.default = Page(link_origin(settings))
    shapes = dict(_ERROR_SHAPES)
    if settings.comfyui:
        comfyui.add_routes(app)
        shapes |= dict.fromkeys(COMFYUI_PATHS, comfyui_error)
    app.state.mcp = McpFace(app)
    app.router.routes.append(Route(MCP_PATH, endpoint=app.state.mcp, include_in_schema=False))
    problems.install(app, shapes)
    app.add_middleware(RequestGuard, settings=settings)
    app.add_middleware(MetricsMiddleware, metrics=measured)
    return app


def _routes() -> list[BaseRoute]:
    """Return all routes. FastAPI builds those of included routers again, and matches each request twice in them."""
    faces = (
        openai_router,
        *(module.router for module in (a1111_render, a1111_progress, a1111_options, a1111_extras, a1111_machine)),
    )
    native = (*(module.router for module in _ROUTES), model_operations.operations_router)
    return [route for router in (*native, *faces) for route in router.routes]


def _lifespan(settings: Settings, measured: Metrics):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- FastAPI's own type is private
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        use_configured(settings)  # for links that background tasks write, such as webhooks
        farm = Farm(settings, measured)
        app.state.farm = farm
        farm.start()
        try:
            async with AsyncExitStack() as faces:
                faces.push_async_callback(app.state.mcp.stop)
                if settings.comfyui:
                    await faces.enter_async_context(comfyui.running(app, farm))
                yield
        finally:
            await farm.close()

    return lifespan
