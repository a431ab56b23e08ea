"""Presets: named sets of parameters."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import CallerDependency, json_response
from api.lazy_route import LazyRoute
from api.openapi_errors import error_responses
from core.presets import all_presets
from core.schemas.models import Preset, PresetList

router = APIRouter(prefix="/v1/presets", tags=["models"], route_class=LazyRoute)


@router.get("", response_model=PresetList, summary="List presets", responses=error_responses())
async def read_presets(caller: CallerDependency) -> Response:
    """List presets. Send an id as `preset` with a job; parameters sent with it take precedence."""
    return json_response(PresetList(items=[Preset(**preset.model_dump()) for preset in all_presets()]))
