"""Parameters: how an image was made, read from its file."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import CallerDependency, FarmDependency, json_response
from api.lazy_route import LazyRoute
from api.multipart import first_file
from api.openapi_errors import error_responses
from api.parameters import parameters_of
from api.routes.uploads import TYPES
from core.errors import FarmError
from core.schemas.images import ImageParameters

router = APIRouter(prefix="/v1/parameters", tags=["images"], route_class=LazyRoute)

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]}}
_BODY = {
    "requestBody": {"required": True, "content": {**dict.fromkeys(TYPES, _BINARY), "multipart/form-data": _FORM}},
}


@router.post(
    "",
    response_model=ImageParameters,
    summary="How an image was made",
    responses=error_responses(408, 413, 415),
    openapi_extra=_BODY,
)
async def read_image_parameters(request: Request, farm: FarmDependency, caller: CallerDependency) -> Response:
    """Read the settings in an image of A1111, ComfyUI, InvokeAI, Fooocus, NovelAI, Civitai or this farm. Nothing is stored.

    The body is the file itself, or a form (multipart/form-data) with the file in its first part.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (*TYPES, "multipart/form-data"):
        raise FarmError(
            f"Send the image as the body, with Content-Type {', '.join(TYPES)}, or as a file in multipart/form-data.",
            code="unsupported_media_type",
        )
    body = await request.body()
    return json_response(await parameters_of(farm, body if kind in TYPES else first_file(body, content_type)))
