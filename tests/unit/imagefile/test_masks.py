"""Masks: black and white at the middle, scaled by area, with an edge that fades outwards only."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image, ImageChops

from core.imagefile.masks import inverted, open_mask, paste_weights, resized, white_share


def a_mask(width: int, height: int, *white: tuple[int, int, int, int]) -> Image.Image:
    """Return a black mask with white boxes."""
    mask = Image.new("L", (width, height))
    for box in white:
        mask.paste(255, box)
    return mask


def png_of(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_mask_of_any_mode_is_read_by_its_luminance(mode: str) -> None:
    image = a_mask(8, 8, (0, 0, 4, 8))
    wide = image.point([value * 257 for value in range(256)], "I").convert("I;16") if mode == "I;16" else image.convert(mode)
    assert open_mask(png_of(wide)).tobytes() == image.tobytes()


def test_transparent_areas_are_white() -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    assert open_mask(png_of(image)).tobytes() == b"\xff\x00"


def test_greys_are_divided_in_the_middle() -> None:
    greys = Image.frombytes("L", (4, 1), bytes([0, 127, 128, 255]))
    assert resized(greys, 4, 1).tobytes() == b"\x00\x00\xff\xff"
    assert white_share(greys) == 0.5


def test_a_scaled_pixel_is_white_if_half_of_it_is() -> None:
    mask = a_mask(4, 4, (0, 0, 1, 2), (2, 0, 3, 1))
    assert resized(mask, 2, 2).tobytes() == b"\xff\x00\x00\x00"
    assert resized(a_mask(2, 1, (0, 0, 1, 1)), 4, 2).tobytes() == b"\xff\xff\x00\x00" * 2


def test_without_feather_only_white_pixels_are_new() -> None:
    mask = a_mask(9, 9, (3, 3, 6, 6))
    assert paste_weights(mask, 0).tobytes() == mask.tobytes()


def test_the_edge_fades_outwards_and_no_further() -> None:
    mask = a_mask(64, 64, (24, 24, 40, 40))
    weights = paste_weights(mask, 6)
    assert weights.crop((24, 24, 40, 40)).getextrema() == (255, 255), "white pixels are new"
    assert ImageChops.subtract(weights, a_mask(64, 64, (18, 18, 46, 46))).getbbox() is None, "6 pixels outside, no more"
    ramp = list(weights.crop((17, 32, 25, 33)).tobytes())
    assert ramp == sorted(ramp)
    assert (ramp[0], ramp[-1]) == (0, 255)
    assert len(set(ramp)) == len(ramp), "in equal steps"


def test_a_thin_white_line_stays_new_with_a_wide_feather() -> None:
    assert paste_weights(a_mask(64, 64, (30, 0, 31, 64)), 20).getpixel((30, 32)) == 255


def test_an_inverted_mask_exchanges_black_and_white() -> None:
    mask = a_mask(4, 4, (0, 0, 2, 4))
    assert open_mask(inverted(png_of(mask), 100)).tobytes() == ImageChops.invert(mask).tobytes()
