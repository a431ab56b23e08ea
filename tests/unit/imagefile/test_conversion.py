"""Conversion of stored images to other formats and thumbnails."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from core.imagefile import ImageFormat, convert, encode, read_metadata, thumbnail
from tests.unit.imagefile.sample_images import METADATA, png


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_converted_image_keeps_its_metadata(format: ImageFormat) -> None:
    assert read_metadata(convert(png(), format)).imagefarm == METADATA


def test_a_converted_image_of_another_tool_has_no_metadata_or_ai_mark() -> None:
    file = BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    found = read_metadata(convert(file.getvalue(), "webp"))
    assert (found.format, found.imagefarm, found.ai_generated) == ("WEBP", None, False)


def test_a_thumbnail_fits_and_keeps_the_ai_mark() -> None:
    small = thumbnail(encode(Image.new("RGB", (1000, 500)), METADATA), 100)
    found = read_metadata(small)
    assert (found.format, found.width, found.height) == ("WEBP", 100, 50)
    assert found.ai_generated
    assert found.imagefarm is None


def test_a_thumbnail_is_never_enlarged() -> None:
    found = read_metadata(thumbnail(png(), 320))
    assert (found.width, found.height) == (16, 8)


def test_a_thumbnail_of_another_tools_image_has_no_ai_mark() -> None:
    file = BytesIO()
    Image.new("L", (40, 40)).save(file, "PNG")
    assert not read_metadata(thumbnail(file.getvalue(), 20)).ai_generated
