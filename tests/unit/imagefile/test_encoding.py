"""Every format holds pixels and metadata where Pillow and other readers look for them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given
from PIL import Image

from core.errors import InvalidInput
from core.imagefile import ImageFormat, ImageMetadata, encode, read_metadata
from core.imagefile.parameters_text import format_parameters
from core.imagefile.xmp import AI_SOURCE
from tests.unit.imagefile.sample_images import METADATA, PIXELS, PROMPTS, png

FORMATS: list[ImageFormat] = ["png", "jpeg", "webp"]


def sample_image() -> Image.Image:
    return Image.frombytes("RGB", (16, 8), PIXELS)


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Read the PNG's chunks without Pillow, checking their checksums."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + body),)
        found.append((kind, body))
        at += 12 + length
    return found


def test_png_keeps_every_pixel() -> None:
    with Image.open(BytesIO(png())) as image:
        assert (image.mode, image.size, image.tobytes()) == ("RGB", (16, 8), PIXELS)


def test_png_texts_precede_the_pixels_once() -> None:
    found = chunks(png())
    assert [kind for kind, _ in found] == [b"IHDR", b"iTXt", b"iTXt", b"iTXt", b"tEXt", b"eXIf", b"IDAT", b"IEND"]
    assert [body.split(b"\0")[0] for kind, body in found if kind in (b"iTXt", b"tEXt")] == [
        b"parameters",
        b"imagefarm",
        b"XML:com.adobe.xmp",
        b"Software",
    ]


def test_plain_prompts_use_the_text_chunk_that_the_oldest_tools_read() -> None:
    plain = METADATA.model_copy(update={"prompt": "a cat", "negative_prompt": ""})
    found = chunks(png(plain))
    assert found[1][0] == b"tEXt"
    assert b"eXIf" not in dict(found)


def test_pixels_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(ValueError, match="not enough image data"):
        encode(Image.frombytes("RGB", (16, 8), PIXELS[:-1]), METADATA)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_holds_the_same_metadata(format: ImageFormat) -> None:
    found = read_metadata(encode(sample_image(), METADATA, format=format))
    assert (found.format.lower(), found.width, found.height) == (format, 16, 8)
    assert found.imagefarm == METADATA
    assert found.parameters_text == format_parameters(METADATA)
    assert found.parameters is not None
    assert found.parameters.prompt == f"{METADATA.prompt} <lora:ink:0.8>"
    assert found.settings()["loras"] == [{"name": "ink", "scale": 0.8}]
    assert found.ai_generated


@pytest.mark.parametrize("format", FORMATS)
@given(prompt=PROMPTS, negative=PROMPTS)
def test_any_prompt_survives(format: ImageFormat, prompt: str, negative: str) -> None:
    metadata = METADATA.model_copy(update={"prompt": prompt, "negative_prompt": negative})
    assert read_metadata(encode(sample_image(), metadata, format=format)).imagefarm == metadata


@pytest.mark.parametrize("format", FORMATS)
def test_pillow_itself_finds_the_ai_mark(format: ImageFormat) -> None:
    with Image.open(BytesIO(encode(sample_image(), METADATA, format=format))) as image:
        image.load()
        packet = image.info["xmp"]
    assert f"<Iptc4xmpExt:DigitalSourceType>{AI_SOURCE}<".encode() in packet


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_user_comment_has_the_type_and_code_that_readers_expect(format: ImageFormat) -> None:
    data = encode(sample_image(), METADATA, format=format)
    with Image.open(BytesIO(data)) as image:
        comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment == b"UNICODE\0" + format_parameters(METADATA).encode("utf-16-be")
    block = data[data.index(b"MM\0\x2a") :]
    entry = block.index(struct.pack(">H", 0x9286))
    kind, count, offset = struct.unpack(">HII", block[entry + 2 : entry + 12])
    assert (kind, block[offset : offset + count]) == (7, comment)


def test_prompts_too_long_for_jpeg_are_refused_with_an_alternative() -> None:
    long = METADATA.model_copy(update={"prompt": "猫" * 40_000})
    with pytest.raises(InvalidInput, match="PNG or WebP") as caught:
        encode(sample_image(), long, format="jpeg")
    assert caught.value.code == "metadata_too_long"
    for format in ("png", "webp"):
        assert read_metadata(encode(sample_image(), long, format=format)).imagefarm == long


def test_webp_of_full_quality_is_lossless() -> None:
    with Image.open(BytesIO(encode(sample_image(), METADATA, format="webp", quality=100))) as image:
        assert image.convert("RGB").tobytes() == PIXELS


def test_metadata_of_a_later_version_with_more_fields_is_read() -> None:
    text = METADATA.to_json().replace("{", '{"new_field":[1],', 1)
    assert ImageMetadata.model_validate_json(text) == METADATA
