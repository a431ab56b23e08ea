"""Read the images of edits and variations from forms and JSON bodies; convert masks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from io import BytesIO
from typing import TypeVar

from fastapi import Request
from PIL import Image, ImageChops
from pydantic import ValidationError

from api.caller import Caller
from api.farm import Farm
from api.multipart import form_parts
from api.openai.request import ImageEditRequest, ImageOptions, ImageReference, ImageVariationRequest
from api.threads import in_thread
from api.uploads import find_upload, store_upload
from api.validation import from_pydantic
from core.errors import FarmError, InvalidInput
from core.imagefile import decode_base64_image, open_with_alpha

_IMAGE_NAMES = ("image", "image[]")
_OWN_LINK = re.compile(r"(?:https?://[^/?#]+)?(?:/[^?#]*)?/v1/(?:images|uploads)/([0-9a-f-]{36})(?:/content)?(?:[?#].*)?")
_MAX_IMAGES = 16
_MAX_FIELD = 1_000_000

Wanted = TypeVar("Wanted", bound=ImageOptions)


@dataclass(frozen=True)
class Source:
    """An image of a request: its file, or the id of an upload or image that is here already."""

    data: bytes | None = None
    known_id: str | None = None


@dataclass(frozen=True)
class EditInput:
    """A request to edit with its images, of which the first is edited, and its mask."""

    wanted: ImageEditRequest
    images: list[Source]
    mask: Source | None


async def read_edit(request: Request) -> EditInput:
    """Read the form or JSON of an edit. Raises InvalidInput, or FarmError `unsupported_media_type`."""
    if _is_form(request):
        values, files = await _read_form(request)
        wanted = _parsed(ImageEditRequest, {name: text for name, text in values.items() if name not in ("images", "mask")})
        images = [Source(data) for name in _IMAGE_NAMES for data in files.get(name, ())]
        masks = files.get("mask", ())
        return EditInput(wanted, _checked(images), Source(masks[0]) if masks else None)
    wanted = _parsed(ImageEditRequest, await _read_json(request))
    images = [_source(each, f"images.{index}.image_url") for index, each in enumerate(wanted.images)]
    return EditInput(wanted, _checked(images), _source(wanted.mask, "mask.image_url") if wanted.mask is not None else None)


async def read_variation(request: Request) -> tuple[ImageVariationRequest, bytes]:
    """Read the form of a variation: its fields and the file `image`. Raises like `read_edit`."""
    if not _is_form(request):
        raise FarmError("Send a form (multipart/form-data) with the file `image`.", code="unsupported_media_type")
    values, files = await _read_form(request)
    images = [data for name in _IMAGE_NAMES for data in files.get(name, ())]
    _checked([Source(data) for data in images])
    return _parsed(ImageVariationRequest, values), images[0]


def _is_form(request: Request) -> bool:
    return _content_type(request).startswith("multipart/form-data")


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").strip().lower()


async def _read_form(request: Request) -> tuple[dict[str, str], dict[str, list[bytes]]]:
    """Return the texts and the files of a form by name; an image may be sent without a file name."""
    values: dict[str, str] = {}
    files: dict[str, list[bytes]] = {}
    for part in form_parts(await request.body(), request.headers["content-type"]):
        if part.is_file or part.name in (*_IMAGE_NAMES, "mask"):
            files.setdefault(part.name, []).append(part.content)
        elif len(part.content) <= _MAX_FIELD:
            values[part.name] = part.content.decode("utf-8", "replace")
    return values, files


async def _read_json(request: Request) -> dict[str, object]:
    kind = _content_type(request).partition(";")[0].strip()
    if kind != "application/json" and not kind.endswith("+json"):
        raise FarmError(
            "Send a form (multipart/form-data) with the file `image`, or JSON with `images`.", code="unsupported_media_type"
        )
    try:
        body = json.loads(await request.body())
    except ValueError as error:  # UnicodeDecodeError included
        raise InvalidInput(f"The body is not JSON: {error}.", code="malformed_json") from None
    except RecursionError:
        raise InvalidInput("The body is not JSON that can be read: it is nested too deep.", code="malformed_json") from None
    if not isinstance(body, dict):
        raise InvalidInput('The body is not an object: send {"prompt": ..., "images": [...]}.', field="body")
    return body


def _parsed(kind: type[Wanted], values: object) -> Wanted:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise from_pydantic(error) from None


def _checked(images: list[Source]) -> list[Source]:
    if not images:
        raise InvalidInput("The request has no image: send the file as `image`.", field="image")
    if len(images) > _MAX_IMAGES:
        raise InvalidInput(f"The request has {len(images)} images: send at most {_MAX_IMAGES}.", field="image")
    return images


def _source(reference: ImageReference, field: str) -> Source:
    if reference.file_id is not None:
        return Source(known_id=reference.file_id)
    url = reference.image_url or ""
    if (own := _OWN_LINK.fullmatch(url)) is not None:
        return Source(known_id=own[1])
    if url[:5].lower() != "data:":
        raise InvalidInput(
            "The farm does not fetch images from other addresses: send a data URL, the link of an image of this farm, or "
            "file_id with an id from POST /v1/uploads.",
            field=field,
            code="image_url_not_fetched",
        )
    return Source(decode_base64_image(url, field))


@dataclass(frozen=True)
class StoredImage:
    """An image as a job names it: its id, and the hash by which a repeated request is recognised."""

    id: str
    identity: str


async def start_image(farm: Farm, caller: Caller, source: Source) -> StoredImage:
    """Return the image to name as a job's `init_image`; store a file as an upload."""
    if source.data is None:
        return StoredImage(source.known_id or "", source.known_id or "")
    return await _stored(farm, caller, source.data, "image")


async def _stored(farm: Farm, caller: Caller, data: bytes, field: str) -> StoredImage:
    upload = await store_upload(farm, caller, data, field)
    return StoredImage(upload.id, upload.sha256)


async def mask_image(farm: Farm, caller: Caller, source: Source) -> StoredImage:
    """Store the mask whose white areas are the transparent ones of `source`."""
    data = source.data if source.data is not None else await in_thread(_upload_data, farm, caller, source.known_id or "")
    async with farm.decoding:
        mask = await in_thread(white_where_transparent, data, farm.settings.max_upload_pixels, "mask")
    if mask is None:
        raise InvalidInput(
            "The mask has no transparent area: make transparent (alpha 0) what is to be repainted, in a PNG.",
            field="mask",
            code="mask_without_alpha",
        )
    return await _stored(farm, caller, mask, "mask")


async def own_mask(farm: Farm, caller: Caller, source: Source) -> StoredImage | None:
    """Return like `mask_image` for an image that is its own mask, as DALL-E 2 takes it; None when it is opaque."""
    if source.data is None:
        return None
    async with farm.decoding:
        mask = await in_thread(white_where_transparent, source.data, farm.settings.max_upload_pixels, "image")
    return await _stored(farm, caller, mask, "image") if mask is not None else None


def white_where_transparent(data: bytes, max_pixels: int, field: str) -> bytes | None:
    """Return a PNG that is white where an image has alpha 0 and black where it is opaque; None for an opaque image."""
    try:
        image = open_with_alpha(data, max_pixels=max_pixels)
    except InvalidInput as error:
        raise InvalidInput(error.message, field=field, code=error.code) from error
    if image.mode != "RGBA":
        return None
    mask: Image.Image = ImageChops.invert(image.getchannel("A"))
    file = BytesIO()
    mask.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _upload_data(farm: Farm, caller: Caller, upload_id: str) -> bytes:
    return farm.uploads.read(find_upload(farm, caller, upload_id, "mask").key)
