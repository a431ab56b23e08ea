"""Prepare the init image and the mask of img2img, and finish its images: fill, crop, paste back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType

from PIL import Image

from api.a1111.request import feather_of
from api.caller import Caller
from api.farm import Farm
from api.threads import in_thread
from api.uploads import store_upload
from core.catalogue import CatalogueModel
from core.errors import InvalidInput
from core.imagefile import decode_base64_image, open_rgb
from core.imagefile.masked_area import Box, Fill, area_around, filled, fitted, pasted_back
from core.imagefile.masks import inverted, open_mask
from core.schemas.a1111 import Img2Img
from db.tables import Upload

_FILLS: Mapping[int | None, Fill] = MappingProxyType({0: "neighbours", 2: "noise", 3: "grey"})
_MAX_PADDING = 4096


@dataclass(frozen=True)
class PasteBack:
    """Where the images belong: in `box` of the original file, through the mask's file."""

    original: bytes
    mask: bytes
    box: Box
    feather: int
    max_pixels: int

    def apply(self, image: Image.Image) -> Image.Image:
        """Return the original with an image in its place."""
        original = open_rgb(self.original, max_pixels=self.max_pixels)
        mask = open_mask(self.mask, max_pixels=self.max_pixels)
        return pasted_back(original, image, _scaled(mask, original), self.box, self.feather)


@dataclass(frozen=True)
class Pictures:
    """What img2img starts from. `size`: to render, where the request names none; `paste_back`: of inpaint_full_res."""

    uploads: Mapping[str, Upload]
    size: tuple[int, int] | None = None
    paste_back: PasteBack | None = None
    warnings: tuple[str, ...] = ()


async def start_pictures(farm: Farm, caller: Caller, wanted: Img2Img, model: CatalogueModel) -> Pictures:
    """Store the images of a request as uploads. Raises InvalidInput for images that cannot be used."""
    if not wanted.init_images:
        raise InvalidInput("Send an image to start from, as base64.", field="init_images")
    image = await in_thread(decode_base64_image, wanted.init_images[0], "init_images")
    mask = await _mask(farm, wanted.mask, invert=bool(wanted.inpainting_mask_invert)) if wanted.mask else None
    async with farm.decoding:
        prepared = await in_thread(_prepared, wanted, model, image, mask, farm.settings.max_upload_pixels)
    uploads = {"init_image": await store_upload(farm, caller, prepared.image, "init_images")}
    if prepared.mask is not None:
        try:
            uploads["mask"] = await store_upload(farm, caller, prepared.mask, "mask")
        except InvalidInput as error:
            raise _bad_mask(error) from error
    return Pictures(uploads, prepared.size, prepared.paste_back, prepared.warnings)


async def _mask(farm: Farm, text: str, *, invert: bool) -> bytes:
    try:
        data = await in_thread(decode_base64_image, text, "mask")
        if invert:
            async with farm.decoding:
                data = await in_thread(inverted, data, farm.settings.max_upload_pixels)
        return data
    except InvalidInput as error:
        raise _bad_mask(error) from error


def _bad_mask(error: InvalidInput) -> InvalidInput:
    # This face's errors name no field.
    return InvalidInput(f"The mask cannot be used: {error.message}", field="mask", code=error.code)


@dataclass(frozen=True)
class _Prepared:
    image: bytes
    mask: bytes | None
    size: tuple[int, int] | None = None
    paste_back: PasteBack | None = None
    warnings: tuple[str, ...] = ()


def _prepared(wanted: Img2Img, model: CatalogueModel, image: bytes, mask: bytes | None, max_pixels: int) -> _Prepared:
    """Return the files to upload, decoded only where a field needs it. Runs on a thread."""
    fill = _FILLS.get(wanted.inpainting_fill) if mask is not None else None
    full_res = bool(wanted.inpaint_full_res) and mask is not None
    # Sizes that no model renders are refused with the job.
    fits = wanted.resize_mode in (1, 2) and _is_rendered(wanted.width, model) and _is_rendered(wanted.height, model)
    if not (fill or full_res or fits):
        return _Prepared(image, mask)
    picture = _opened(image, max_pixels)
    area = _scaled(_opened_mask(mask, max_pixels), picture) if mask is not None else None
    box, paste_back = None, None
    size = wanted.width or model.defaults.width, wanted.height or model.defaults.height
    if full_res and area is not None and mask is not None:
        padding = min(max(wanted.inpaint_full_res_padding or 0, 0), _MAX_PADDING)
        box = area_around(area, padding, *size)
    if box is not None and area is not None and mask is not None:
        paste_back = PasteBack(image, mask, box, feather_of(wanted) or 0, max_pixels)
        picture, area = picture.crop(box), area.crop(box)
    elif fits:
        picture = fitted(picture, *size, crop=wanted.resize_mode == 1)
        area = fitted(area, *size, crop=wanted.resize_mode == 1) if area is not None else None
    if fill is not None and area is not None:
        picture = filled(picture, area, fill)
    said = ("inpainting_fill 2 and 3 fill pixels here, not latents.",) if fill in ("noise", "grey") else ()
    return _Prepared(_png(picture), _png(area) if area else None, size if box else None, paste_back, said)


def _is_rendered(side: int | None, model: CatalogueModel) -> bool:
    return side is not None and 0 < side <= model.limits.max_side


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    try:
        return open_rgb(data, max_pixels=max_pixels)
    except InvalidInput as error:
        raise InvalidInput(error.message, field="init_images", code=error.code) from error


def _opened_mask(data: bytes, max_pixels: int) -> Image.Image:
    try:
        return open_mask(data, max_pixels=max_pixels)
    except InvalidInput as error:
        raise _bad_mask(error) from error


def _scaled(mask: Image.Image, image: Image.Image) -> Image.Image:
    return mask if mask.size == image.size else mask.resize(image.size, Image.Resampling.BOX)


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
