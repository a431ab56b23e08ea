"""Add this face to an application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.comfyui import about, images, prompts, socket_route
from api.comfyui.face import ComfyFace
from api.farm import Farm

_ROUTES = (prompts, images, about)
PREFIX = "/api"
"""Each call is there a second time under this prefix, as in ComfyUI."""


def add_routes(app: FastAPI) -> None:
    """Add the calls and the web socket."""
    for module in _ROUTES:
        app.include_router(module.router)
        app.include_router(module.router, prefix=PREFIX, include_in_schema=False)
    for prefix in ("", PREFIX):
        app.include_router(socket_route.router, prefix=prefix)


@asynccontextmanager
async def running(app: FastAPI, farm: Farm) -> AsyncIterator[None]:
    """Keep prompts advancing while the process serves."""
    face = ComfyFace(farm)
    app.state.comfyui = face
    face.runner.start()
    try:
        yield
    finally:
        await face.runner.stop()
