"""Prepare images for inpainting: fit to a size, cut out the area around a mask, fill it, and paste the result back."""

from __future__ import annotations

import random
from typing import Literal

from PIL import Image, ImageFilter, ImageOps

from core.imagefile.masks import black_and_white, paste_weights, resized

Box = tuple[int, int, int, int]
"""Left, upper, right and lower edge, in pixels."""
Fill = Literal["neighbours", "noise", "grey"]
_BLURS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
"""Radius and repeats: coarse colours first, finer ones of close neighbours over them."""
_GREY = (127, 127, 127)


def fitted(image: Image.Image, width: int, height: int, *, crop: bool) -> Image.Image:
    """Scale to that size in proportion: `crop` what is over, or else continue the edges to fill what is missing."""
    if image.width * height == image.height * width:
        return image
    if crop:
        return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    inner = ImageOps.contain(image, (width, height), Image.Resampling.LANCZOS)
    left, top = (width - inner.width) // 2, (height - inner.height) // 2
    found = Image.new(inner.mode, (width, height))
    edges = (
        ((0, 0, left, height), (0, 0, 1, inner.height)),
        ((left + inner.width, 0, width, height), (inner.width - 1, 0, inner.width, inner.height)),
        ((0, 0, width, top), (0, 0, inner.width, 1)),
        ((0, top + inner.height, width, height), (0, inner.height - 1, inner.width, inner.height)),
    )
    for place, edge in edges:
        size = place[2] - place[0], place[3] - place[1]
        if all(size) and size != (width, height):
            found.paste(inner.resize(size, box=edge), place)
    found.paste(inner, (left, top))
    return found


def area_around(mask: Image.Image, padding: int, width: int, height: int) -> Box | None:
    """Return the box of a grey mask's white areas with `padding`, grown to the shape of width x height; None without any.

    The box stays inside the image, where its shape gives way.
    """
    found = black_and_white(mask).getbbox()
    if found is None:
        return None
    left, top = max(found[0] - padding, 0), max(found[1] - padding, 0)
    right, bottom = min(found[2] + padding, mask.width), min(found[3] + padding, mask.height)
    wanted_width = max(right - left, round((bottom - top) * width / height))
    wanted_height = max(bottom - top, round((right - left) * height / width))
    left, right = _grown(left, right, wanted_width, mask.width)
    top, bottom = _grown(top, bottom, wanted_height, mask.height)
    return left, top, right, bottom


def _grown(start: int, end: int, wanted: int, limit: int) -> tuple[int, int]:
    """Grow a span to both sides, and shift it where it would leave 0..limit."""
    wanted = min(wanted, limit)
    start -= (wanted - (end - start)) // 2
    start = min(max(start, 0), limit - wanted)
    return start, start + wanted


def filled(image: Image.Image, mask: Image.Image, how: Fill) -> Image.Image:
    """Return an RGB image whose area under the white of a grey mask is filled; what is black is kept."""
    area = resized(mask, image.width, image.height)
    if how == "grey":
        return Image.composite(Image.new("RGB", image.size, _GREY), image, area)
    if how == "noise":
        # The same noise each time, so that the same request gives the same image.
        pixels = random.Random(0).randbytes(image.width * image.height * 3)  # noqa: S311
        return Image.composite(Image.frombytes("RGB", image.size, pixels), image, area)
    return _from_neighbours(image, area)


def _from_neighbours(image: Image.Image, area: Image.Image) -> Image.Image:
    """Fill with the blurred colours around, like A1111's `fill` (modules/masking.py)."""
    kept = Image.new("RGBa", image.size)
    kept.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(area))
    found = Image.new("RGBA", image.size)
    for radius, repeats in _BLURS:
        blurred = kept.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(repeats):
            found.alpha_composite(blurred)
    return found.convert("RGB")


def pasted_back(original: Image.Image, made: Image.Image, mask: Image.Image, box: Box, feather: int) -> Image.Image:
    """Return the RGB original with `made` scaled into `box`, through the white of the grey mask of the whole image."""
    layer = original.copy()
    layer.paste(made.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.LANCZOS), box[:2])
    weights = paste_weights(resized(mask, original.width, original.height), feather)
    inside = Image.new("L", original.size)
    inside.paste(255, box)
    return Image.composite(layer, original, Image.composite(weights, Image.new("L", original.size), inside))
