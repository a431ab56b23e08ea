"""Other files from a stored picture: another format with the same metadata, or a small version for lists."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from core.imagefile import xmp
from core.imagefile.encoding import ImageFormat, encode
from core.imagefile.opening import load_pixels, open_image, to_rgb
from core.imagefile.reading import metadata_of


def convert(data: bytes, format: ImageFormat, *, quality: int = 92) -> bytes:
    """A picture of this farm in another format, with the metadata it carries; a foreign one without any."""
    source = open_image(data)
    load_pixels(source)
    metadata, image = metadata_of(source).imagefarm, to_rgb(source)
    if metadata is not None:
        return encode(image, metadata, format=format, quality=quality)
    file = BytesIO()
    image.save(file, format, quality=quality)
    return file.getvalue()


def thumbnail(data: bytes, max_side: int = 320, *, quality: int = 80) -> bytes:
    """A WebP no larger than `max_side` pixels on its longer side, never enlarged, marked as AI-made when `data` is."""
    source = open_image(data)
    load_pixels(source)
    marked, image = metadata_of(source).ai_generated, to_rgb(source)
    image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    file = BytesIO()
    image.save(file, "WEBP", quality=quality, method=3, xmp=xmp.mark_packet() if marked else b"")
    return file.getvalue()
