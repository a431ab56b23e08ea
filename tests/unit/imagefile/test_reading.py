"""Reading files of other tools, damaged files and hostile files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms
from PIL.PngImagePlugin import PngInfo

from core.errors import InvalidInput
from core.imagefile import open_image, open_rgb, read_metadata
from core.imagefile.exif import decode_user_comment
from core.imagefile.png_chunks import without_oversized_chunks
from core.imagefile.reading import to_rgb
from tests.unit.imagefile.sample_images import METADATA, png
from worker.init_image import open_init_image

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


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


HUGE = zlib.compress(b"x" * 5_000_000)
SIDE_DATA = {
    "a text bomb": chunk(b"zTXt", b"workflow\0\0" + HUGE),
    "an international text bomb": chunk(b"iTXt", b"workflow\0\1\0\0\0" + HUGE),
    "a plain text of 2 MB": chunk(b"tEXt", b"workflow\0" + b"x" * 2_000_000),
    "a profile bomb": chunk(b"iCCP", b"icc\0\0" + HUGE),
    "30 texts of 1 MB": b"".join(chunk(b"tEXt", b"t%d\0" % number + b"x" * 1_000_000) for number in range(30)),
    "texts of 100 MB": b"".join(chunk(b"zTXt", b"t%d\0\0" % n + zlib.compress(bytes(1_000_000))) for n in range(100)),
    "a text of an unknown compression": chunk(b"zTXt", b"t\0\7" + b"x" * 100),
    "a text with a wrong checksum": chunk(b"tEXt", b"t\0hello")[:-4] + b"\0\0\0\0",
}


@pytest.mark.parametrize("place", [33, -12])
@pytest.mark.parametrize("side_data", SIDE_DATA.values(), ids=SIDE_DATA)
def test_oversized_and_damaged_side_data_is_left_out_and_the_pixels_are_kept(side_data: bytes, place: int) -> None:
    info = PngInfo()
    info.add_text("parameters", A1111)
    whole = saved(Image.linear_gradient("L"), "PNG", pnginfo=info)
    data = whole[:place] + side_data + whole[place:]
    assert open_rgb(data).tobytes() == open_rgb(whole).tobytes()
    assert read_metadata(data).parameters_text == A1111


def test_small_chunks_without_number_are_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow needs about 10 microseconds for each, and a body may hold millions."""
    whole = saved(Image.linear_gradient("L"), "PNG")
    packed = chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(100)))
    for many in (packed, chunk(b"prIv", b"")):
        assert len(without_oversized_chunks(whole[:33] + 1500 * many + whole[33:])) == len(whole) + 1000 * len(many)
    assert without_oversized_chunks(whole[:33] + 1500 * chunk(b"IDAT", b"") + whole[33:]).count(b"IDAT") > 1500
    monkeypatch.setattr("core.imagefile.png_chunks._MAX_CHUNKS", 1500)
    with pytest.raises(InvalidInput, match="more than 1500 chunks") as caught:
        open_image(whole[:33] + 1500 * chunk(b"IDAT", b"") + whole[33:])
    assert caught.value.code == "image_unreadable"


def progressive_scans() -> tuple[bytes, bytes]:
    """Return a progressive JPEG up to the end of its scans, and its last scan."""
    data = saved(Image.linear_gradient("L").convert("RGB"), "JPEG", progressive=True).removesuffix(b"\xff\xd9")
    return data, data[data.rfind(b"\xff\xda") :]


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    """Each scan is a pass over all pixels: a file of 100 kB would keep a processor busy for minutes."""
    data, scan = progressive_scans()
    assert open_rgb(data + 20 * scan + b"\xff\xd9").size == (256, 256)
    for end in (b"\xff\xd9", b""):
        with pytest.raises(InvalidInput, match="more JPEG segments") as caught:
            open_image(data + 60 * scan + end)
        assert caught.value.code == "image_unreadable"
    assert open_rgb(data + b"\xff\xd9" + 60 * scan).size == (256, 256), "what follows the image is not part of it"


@pytest.mark.parametrize(
    "piece", [b"\xff\xe9\0\x02", b"\xff\xfe\0\x03x", 20 * b"\0", 20 * b"\xff", 10 * b"\xff\xd0", 10 * b"\xff\0"]
)
def test_a_jpeg_of_many_small_segments_is_refused(piece: bytes) -> None:
    """Pillow takes microseconds for each, and a body may hold millions."""
    whole = saved(Image.linear_gradient("L"), "JPEG")
    for data in (whole[:20] + 11_000 * piece + whole[20:], whole[:20] + 11_000 * piece):
        with pytest.raises(InvalidInput, match=r"more JPEG segments|no image data") as caught:
            open_image(data)
        assert caught.value.code == "image_unreadable"
    assert open_rgb(whole[:20] + 100 * piece + whole[20:]).tobytes() == open_rgb(whole).tobytes()


def test_a_profile_and_texts_of_ordinary_size_are_kept() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(Image.new("RGB", (4, 4)), "PNG", icc_profile=profile)
    assert open_image(data).info["icc_profile"] == profile


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


def png_of(bits: int, color_type: int, pixels: bytes, *chunks: bytes) -> bytes:
    """Return a PNG of one row whose samples Pillow itself cannot write."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color_type]
    width = len(pixels) * 8 // (bits * channels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, color_type, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" + pixels))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body + chunk(b"IEND", b"")


def red_of(image: Image.Image) -> list[int]:
    return list(image.getchannel("R").tobytes())


def test_sixteen_bit_grey_keeps_its_256_levels() -> None:
    pixels = b"".join(struct.pack(">H", level * 257) for level in range(256))
    assert red_of(open_rgb(png_of(16, 0, pixels))) == list(range(256))
    assert red_of(open_init_image(png_of(16, 0, pixels), 256, 1)) == list(range(256))
    assert Image.open(BytesIO(png_of(16, 0, pixels))).mode == "I;16"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_becomes_white_at_every_depth(bits: int) -> None:
    levels = [level * (2**bits - 1) // 3 for level in range(4)]
    if bits == 16:
        row = b"".join(struct.pack(">H", level) for level in levels)
    else:
        row = int("".join(f"{level:0{bits}b}" for level in levels), 2).to_bytes(max(bits // 2, 1))
        row = bytes([row[0] << 4]) if bits == 1 else row
    found = red_of(open_rgb(png_of(bits, 0, row, chunk(b"tRNS", struct.pack(">H", levels[0])))))
    grey = [round(level * 255 / (2**bits - 1)) for level in levels]
    assert found[:4] == [255 if level == levels[0] else shade for level, shade in zip(levels, grey, strict=True)]


def test_the_transparent_colour_of_a_sixteen_bit_png_becomes_white() -> None:
    row = struct.pack(">6H", 0x8000, 0x4000, 0x2000, 0xFFFF, 0, 0)
    found = open_rgb(png_of(16, 2, row, chunk(b"tRNS", row[:6])))
    assert [found.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (255, 0, 0)]


TONES = Image.merge("RGB", [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)])
GREY = Image.linear_gradient("L")
OPAQUE = Image.new("L", GREY.size, 255)
MODES: dict[str, tuple[Image.Image, Image.Image, int]] = {
    "1": (GREY.convert("1"), GREY.convert("1").convert("RGB"), 0),
    "L": (GREY, GREY.convert("RGB"), 0),
    "LA": (GREY.convert("LA"), GREY.convert("RGB"), 0),
    "La": (GREY.convert("LA").convert("La"), GREY.convert("RGB"), 0),
    "P": (TONES.quantize(256), TONES.quantize(256).convert("RGB"), 0),
    "PA": (TONES.convert("RGBA").convert("PA"), TONES, 24),
    "RGB": (TONES, TONES, 0),
    "RGBX": (TONES.convert("RGBX"), TONES, 0),
    "RGBA": (TONES.convert("RGBA"), TONES, 0),
    "RGBa": (TONES.convert("RGBA").convert("RGBa"), TONES, 0),
    "CMYK": (TONES.convert("CMYK"), TONES, 1),
    "YCbCr": (TONES.convert("YCbCr"), TONES, 3),
    "HSV": (TONES.convert("HSV"), TONES, 8),
    "LAB": (GREY.convert("RGB").convert("LAB"), GREY.convert("RGB"), 3),
    "I": (GREY.convert("I").point(lambda value: value * 257), GREY.convert("RGB"), 0),
    "I with 8 bits": (GREY.convert("I"), GREY.convert("RGB"), 0),
    "I with 31 bits": (GREY.convert("I").point(lambda value: value * 8_000_000), GREY.convert("RGB"), 0),
    "F from 0 to 1": (GREY.convert("F").point(lambda value: value / 255), GREY.convert("RGB"), 0),
    "F from 0 to 255": (GREY.convert("F"), GREY.convert("RGB"), 0),
    "F around 0": (GREY.convert("F").point(lambda value: value * 2 - 255), GREY.convert("RGB"), 0),
    **{
        mode: (
            Image.frombytes(mode, GREY.size, b"".join(struct.pack(f"{order}H", v * 257) for v in GREY.tobytes())),
            GREY.convert("RGB"),
            0,
        )
        for mode, order in {"I;16": "<", "I;16L": "<", "I;16B": ">"}.items()
    },
}


@pytest.mark.parametrize("name", MODES)
def test_an_image_of_every_mode_keeps_its_tones(name: str) -> None:
    source, expected, tolerance = MODES[name]
    assert source.mode == name.partition(" ")[0]
    found = to_rgb(source)
    assert found.mode == "RGB"
    off = max(high for _, high in ImageChops.difference(found, expected).getextrema())  # type: ignore[misc]
    assert off <= tolerance


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa", "P"])
def test_transparency_of_every_mode_becomes_white(mode: str) -> None:
    clear = Image.new("RGBA", (4, 4), (10, 10, 10, 0))
    image = clear.convert("LA").convert("La") if mode == "La" else clear.convert(mode)
    if mode == "P":
        image.info["transparency"] = image.getpixel((0, 0))
    assert to_rgb(image).getpixel((0, 0)) == (255, 255, 255)
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert to_rgb(half).getpixel((0, 0)) == (127, 127, 127)


def test_values_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(InvalidInput, match="not numbers"):
        to_rgb(Image.new("F", (2, 2), float("nan")))


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB"])
@pytest.mark.parametrize("open_it", [open_rgb, lambda data: open_init_image(data, 4, 8)], ids=["API", "worker"])
def test_an_image_is_turned_upright_wherever_it_is_opened(mode: str, open_it: Callable[[bytes], Image.Image]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new(mode, (8, 4))
    image.paste(Image.new(mode, (4, 4), 65_535 if mode == "I;16" else "white"), (0, 0))
    found = open_it(saved(image, "PNG", exif=exif))
    assert (found.size, found.getpixel((1, 1)), found.getpixel((1, 6))) == ((4, 8), (255,) * 3, (0,) * 3)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
