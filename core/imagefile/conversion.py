"""Convert stored images: other formats, thumbnails and contact sheets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from core.errors import InvalidInput, NotFound
from core.imagefile import xmp
from core.imagefile.encoding import ImageFormat, encode
from core.imagefile.reading import load_pixels, metadata_of, open_image, to_rgb


def convert(data: bytes, format: ImageFormat, *, quality: int = 92) -> bytes:
    """Re-encode an image in another format. Metadata is kept if imagefarm wrote it, and dropped otherwise."""
    source = open_image(data)
    load_pixels(source)
    metadata, image = metadata_of(source).imagefarm, to_rgb(source)
    if metadata is not None:
        return encode(image, metadata, format=format, quality=quality)
    file = BytesIO()
    image.save(file, format, quality=quality)
    return file.getvalue()


def thumbnail(data: bytes, max_side: int = 320, *, quality: int = 80) -> bytes:
    """Return a WebP of at most `max_side` pixels on its longer side, never enlarged, marked as AI-made when `data` is."""
    source = open_image(data)
    load_pixels(source)
    marked, image = metadata_of(source).ai_generated, to_rgb(source)
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, "WEBP", quality=quality, method=3, xmp=xmp.mark_packet() if marked else b"")
    return file.getvalue()


_MARGIN, _LINE = 8, 18
WEBP_SIDE = 16_383
"""Most pixels on a side of a WebP file."""
_BACKGROUND, _EMPTY_CELL, _CAPTION = (24, 24, 27), (63, 63, 70), (228, 228, 231)


@dataclass(frozen=True)
class Cell:
    """One cell of a contact sheet. `load` reads its image file, None leaves the cell empty; `caption` is drawn below it."""

    load: Callable[[], bytes] | None
    caption: str


def contact_sheet(
    cells: Sequence[Cell], *, columns: int = 0, side: int = 256, format: Literal["png", "webp"] = "png"
) -> bytes:
    """Return a sheet of all cells, row by row; `side` is the longest side of an image in it, in pixels.

    Files are read one at a time, so that memory is bounded by the sheet and one image. A file that is missing or cannot be
    decoded becomes an empty cell whose caption names the reason; raises NotFound `image_file_missing` when all are missing.
    """
    columns = min(columns, len(cells)) or math.ceil(math.sqrt(len(cells)))
    rows = -(-len(cells) // columns)
    step_x, step_y = side + _MARGIN, side + _LINE + _MARGIN
    sheet = Image.new("RGB", (columns * step_x + _MARGIN, rows * step_y + _MARGIN), _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    missing = 0
    for position, cell in enumerate(cells):
        left, top = position % columns * step_x + _MARGIN, position // columns * step_y + _MARGIN
        caption = cell.caption
        try:
            paste_cell(sheet, draw, cell, left, top, side)
        except NotFound:
            missing += 1
            caption = f"file missing: {caption}"
        except InvalidInput:
            caption = f"unreadable file: {caption}"
        draw.text((left, top + side + 2), _shortened(caption, side), fill=_CAPTION, font=font)
    if missing and missing == sum(cell.load is not None for cell in cells):
        raise NotFound("The files of all these images are missing from the store.", code="image_file_missing")
    file = BytesIO()
    if format == "webp" and max(sheet.size) > WEBP_SIDE:
        raise InvalidInput(
            f"The sheet is {sheet.width}x{sheet.height}, and WebP holds {WEBP_SIDE} pixels a side: choose a smaller side, "
            "or PNG.",
            field="format",
        )
    sheet.save(file, format)
    return file.getvalue()


def paste_cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, left: int, top: int, side: int) -> None:
    """Draw a cell's image in the middle of its square, or a grey square. Raises NotFound, InvalidInput."""
    box = (left, top, left + side - 1, top + side - 1)
    draw.rectangle(box, fill=_EMPTY_CELL)
    if cell.load is None:
        return
    image = _reduced(cell.load(), side)
    draw.rectangle(box, fill=_BACKGROUND)
    sheet.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))


def _reduced(data: bytes, side: int) -> Image.Image:
    """Decode an image as RGB with sides of at most `side`; JPEG files are decoded at reduced size."""
    image = open_image(data)
    image.draft("RGB", (side, side))
    load_pixels(image)
    reduced = to_rgb(image)
    reduced.thumbnail((side, side), Image.Resampling.LANCZOS)
    return reduced


def _shortened(caption: str, side: int) -> str:
    """Cut to about the image's width; Pillow's built-in font has no glyphs beyond Latin-1."""
    characters = max(side // 6, 8)
    plain = caption.encode("latin-1", "replace").decode("latin-1").replace("\n", " ")
    return plain if len(plain) <= characters else plain[: characters - 3] + "..."
