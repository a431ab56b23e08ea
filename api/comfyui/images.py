"""Routes of images: upload one for LoadImage, view one by ComfyUI's name."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from api.caller import Caller
from api.comfyui.errors import errors
from api.comfyui.face import ComfyCaller, ComfySubmitter, FaceDependency
from api.comfyui.files import MAX_NAME, annotated, image_id_in, input_name
from api.dependencies import json_response
from api.farm import Farm
from api.file_response import file_response
from api.image_formats import stored_format
from api.lazy_route import LazyRoute
from api.threads import in_thread
from api.uploads import require_file, store_upload
from core.errors import InvalidInput, NotFound
from core.imagefile import MEDIA_TYPES
from core.schemas.comfyui import ComfyImage
from db.comfyui import inputs_of, name_input
from db.images import get_image

router = APIRouter(tags=["comfyui"], route_class=LazyRoute)

_MAX_COPIES = 1000
_PREVIEW = re.compile(r"(webp|jpeg)(?:;\d{1,3})?")
_TEXT = {"type": "string"}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "overwrite": {**_TEXT, "description": "`true`: let the name mean this image from now on."},
                        "subfolder": _TEXT,
                        "type": {**_TEXT, "description": "Always `input` here."},
                    },
                }
            }
        },
    }
}
_IMAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()},
    }
}


@router.post(
    "/upload/image",
    response_model=ComfyImage,
    summary="Upload an image for LoadImage",
    responses=errors(400, 408, 413),
    openapi_extra=_FORM,
)
async def upload_image(request: Request, face: FaceDependency, caller: ComfySubmitter) -> Response:
    """Store an image under your name for it; a second image of that name gets a number, unless `overwrite` is true."""
    async with request.form(max_files=1, max_fields=20) as form:
        sent = form.get("image")
        if not isinstance(sent, UploadFile) or not sent.filename:
            raise InvalidInput("Send the image as a file in the part `image`.", field="image", code="no_file")
        subfolder, overwrite = form.get("subfolder", ""), form.get("overwrite", "")
        name, folder = input_name(sent.filename, subfolder if isinstance(subfolder, str) else "")
        data = await sent.read()
    upload = await store_upload(face.farm, caller, data, "image")
    name = await in_thread(_free_name, face.farm, caller, name, folder, upload.sha256, overwrite in ("true", "1"))
    await in_thread(name_input, face.farm.database, caller.owner, _joined(folder, name), upload.id)
    return json_response(ComfyImage(name=name, subfolder=folder, type="input"))


def _free_name(farm: Farm, caller: Caller, name: str, folder: str, sha256: str, overwrite: bool) -> str:
    """Return the name, or one with a number when the name is that of another image, as ComfyUI does."""
    if overwrite:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, ""
    for number in range(_MAX_COPIES):
        tried = name if not number else f"{stem} ({number}){dot}{suffix}"
        whole = _joined(folder, tried)
        known = inputs_of(farm.database, caller.owner, [whole]).get(whole)
        if known is None or known.sha256 == sha256:
            return tried
    raise InvalidInput(f"There are {_MAX_COPIES} images of this name: send another one, or overwrite.", field="image")


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


@router.get("/view", response_class=Response, summary="An image by ComfyUI's name", responses=errors(404, 410) | _IMAGE)
async def view_image(
    face: FaceDependency,
    caller: ComfyCaller,
    filename: Annotated[str, Query(min_length=1, max_length=2 * MAX_NAME, description="As /history names it.")],
    subfolder: Annotated[str, Query(max_length=MAX_NAME)] = "",
    type: Annotated[str, Query(max_length=20, description="`output`, `temp` or `input`.")] = "output",
    preview: Annotated[str | None, Query(max_length=20, description="`webp;90` or `jpeg;90`: in that format.")] = None,
) -> Response:
    """Return an image of yours: a finished one, or an upload."""
    base, kind = annotated(filename)
    if kind == "input" and not filename.endswith("[input]"):
        kind = type
    headers = {"Cache-Control": "private, no-cache", "Content-Disposition": f'inline; filename="{_ascii(base)}"'}
    if kind == "input":
        name = _joined(subfolder.strip("/"), base)
        # PostgreSQL takes no NUL, and no name has one.
        names = [name] if name.isprintable() else []
        upload = (await in_thread(inputs_of, face.farm.database, caller.owner, names)).get(name)
        if upload is None:
            raise NotFound("There is no image of this name.", code="image_not_found")
        await in_thread(require_file, face.farm, upload)
        file = await in_thread(face.farm.uploads.open, upload.key)
        return file_response(file, media_type="image/png", headers=headers)
    image = await in_thread(get_image, face.farm.database, image_id_in(base), caller.visible_owner)
    if preview is not None and (wanted := _PREVIEW.fullmatch(preview)) is not None:
        target = "jpeg" if wanted[1] == "jpeg" else "webp"
        data = await face.farm.image_variants.converted(image.key, target)  # type: ignore[arg-type]
        return Response(data, media_type=MEDIA_TYPES[target], headers=headers)  # type: ignore[index]
    file = await in_thread(face.farm.store.open, image.key)
    return file_response(file, media_type=MEDIA_TYPES[stored_format(image.format)], headers=headers)


def _ascii(name: str) -> str:
    """Return a name that a header can hold."""
    return re.sub(r"[^A-Za-z0-9._ -]", "_", name.rsplit("/", 1)[-1])
