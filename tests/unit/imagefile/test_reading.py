"""Reading files of other tools, damaged files and hostile files."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.errors import InvalidInput
from core.imagefile import open_image, open_rgb, read_metadata
from core.imagefile.exif import decode_user_comment
from tests.unit.imagefile.sample_images import METADATA, png

A1111 = "a dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64, Model: v1-5"


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_a_png_of_a1111_is_read() -> None:
    info = PngInfo()
    info.add_text("parameters", A1111)
    found = read_metadata(saved(Image.new("RGB", (4, 4)), "PNG", pnginfo=info))
    assert found.imagefarm is None
    assert not found.ai_generated
    assert found.settings() == {
        "prompt": "a dog",
        "negative_prompt": "",
        "seed": 5,
        "num_inference_steps": 20,
        "guidance_scale": 7.0,
        "width": 64,
        "height": 64,
        "model": "v1-5",
    }


def test_imagefarms_json_has_precedence_over_the_text() -> None:
    info = PngInfo()
    info.add_text("parameters", A1111)
    info.add_itxt("imagefarm", METADATA.to_json())
    found = read_metadata(saved(Image.new("RGB", (4, 4)), "PNG", pnginfo=info))
    assert found.settings()["prompt"] == METADATA.prompt


def test_texts_after_the_pixels_are_found() -> None:
    data = png()
    body = b"parameters\0" + A1111.encode()
    late = struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    plain = saved(Image.new("RGB", (4, 4)), "PNG")
    assert read_metadata(plain[:-12] + late + plain[-12:]).parameters_text == A1111
    assert read_metadata(data).imagefarm == METADATA


@pytest.mark.parametrize("text", ["{", "[]", '{"prompt": 3}', '{"prompt": "x"}', ""])
def test_a_malformed_imagefarm_record_is_ignored(text: str) -> None:
    info = PngInfo()
    info.add_itxt("imagefarm", text)
    assert read_metadata(saved(Image.new("RGB", (4, 4)), "PNG", pnginfo=info)).imagefarm is None


@pytest.mark.parametrize(
    "value",
    [
        b"UNICODE\0" + A1111.encode("utf-16-be"),
        b"UNICODE\0" + A1111.encode("utf-16-le"),
        b"UNICODE\0" + A1111.encode("utf-16"),
        b"ASCII\0\0\0" + A1111.encode() + b"\0\0",
        bytes(8) + A1111.encode(),
        A1111.encode(),
        A1111,
    ],
)
def test_user_comments_of_various_tools_are_decoded(value: bytes | str) -> None:
    assert decode_user_comment(value) == A1111


def test_other_formats_are_refused() -> None:
    for data in (b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", saved(Image.new("RGB", (4, 4)), "GIF")):
        with pytest.raises(InvalidInput, match="not a PNG, JPEG or WebP") as caught:
            open_image(data)
        assert caught.value.code == "image_format"


@pytest.mark.parametrize("side", [3000, 20_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    body = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    with pytest.raises(InvalidInput, match="at most 4194304") as caught:
        open_image(b"\x89PNG\r\n\x1a\n" + header + bytes(4) + b"IDAT" + bytes(4), max_pixels=4194304)
    assert caught.value.code == "image_too_large"


def test_a_compressed_text_that_inflates_too_far_is_refused() -> None:
    body = b"parameters\0\0" + zlib.compress(b"x" * 5_000_000)
    bomb = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    plain = saved(Image.new("RGB", (4, 4)), "PNG")
    with pytest.raises(InvalidInput) as caught:
        read_metadata(plain[:33] + bomb + plain[33:])
    assert caught.value.code == "image_unreadable"


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_animations_are_refused(format: str) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    with pytest.raises(InvalidInput) as caught:
        open_image(saved(frames[0], format, save_all=True, append_images=frames[1:]))
    assert caught.value.code == "image_animated"


def test_a_phone_jpeg_with_a_second_image_inside_is_a_jpeg() -> None:
    data = saved(Image.new("RGB", (8, 8), "red"), "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    assert (read_metadata(data).format, open_rgb(data).size) == ("JPEG", (8, 8))


def test_exif_orientation_is_applied_and_transparency_becomes_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_rgb(saved(Image.new("RGB", (8, 4)), "JPEG", exif=exif)).size == (4, 8)
    assert open_rgb(saved(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG")).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@given(st.data())
def test_damage_anywhere_raises_invalid_input_or_nothing(format: str, data: st.DataObject) -> None:
    whole = png() if format == "PNG" else saved(Image.new("RGB", (16, 16), "red"), format, exif=Image.Exif().tobytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    junk = data.draw(st.binary(max_size=40))
    end = data.draw(st.integers(at, len(whole)))
    try:
        read_metadata(whole[:at] + junk + whole[end:])
    except InvalidInput as error:
        assert error.code in {"image_format", "image_unreadable", "image_too_large", "image_animated"}
