"""Fit, cut out, fill and paste back the images of inpainting."""

from __future__ import annotations

import pytest
from PIL import Image

from core.imagefile.masked_area import Fill, area_around, filled, fitted, pasted_back

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(width: int = 80, height: int = 40) -> Image.Image:
    """Return an image that is red on the left and blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def mask(box: tuple[int, int, int, int], width: int = 80, height: int = 40) -> Image.Image:
    found = Image.new("L", (width, height))
    found.paste(255, box)
    return found


def test_cropping_cuts_the_sides_and_continuing_keeps_the_whole_image() -> None:
    cropped = fitted(halves(), 40, 40, crop=True)
    assert cropped.size == (40, 40)
    assert (cropped.getpixel((2, 20)), cropped.getpixel((37, 20))) == (RED, BLUE)
    wide = Image.new("RGB", (40, 20), RED)
    wide.paste(BLUE, (0, 10, 40, 20))
    kept = fitted(wide, 40, 40, crop=False)
    assert kept.size == (40, 40)
    assert (kept.getpixel((20, 1)), kept.getpixel((20, 38))) == (RED, BLUE)
    side = fitted(halves(20, 40), 40, 40, crop=False)
    assert (side.getpixel((1, 20)), side.getpixel((38, 20))) == (RED, BLUE)
    same = halves()
    assert fitted(same, 160, 80, crop=True) is same, "the shape is the same already"


@pytest.mark.parametrize(
    ("box", "padding", "size", "expected"),
    [
        ((30, 10, 40, 20), 0, (64, 64), (30, 10, 40, 20)),
        ((30, 10, 40, 20), 5, (64, 64), (25, 5, 45, 25)),
        ((30, 10, 40, 20), 0, (128, 64), (25, 10, 45, 20)),
        ((0, 0, 10, 10), 0, (128, 64), (0, 0, 20, 10)),
        ((70, 30, 80, 40), 0, (64, 128), (70, 20, 80, 40)),
        ((0, 0, 80, 40), 8, (64, 64), (0, 0, 80, 40)),
    ],
)
def test_the_area_has_the_shape_of_the_size_and_stays_inside(
    box: tuple[int, int, int, int], padding: int, size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    assert area_around(mask(box), padding, *size) == expected


def test_a_black_mask_has_no_area() -> None:
    assert area_around(mask((0, 0, 0, 0)), 8, 64, 64) is None


def test_filling_changes_only_what_is_white() -> None:
    area = mask((0, 0, 20, 20))
    hows: tuple[Fill, ...] = ("neighbours", "noise", "grey")
    for how in hows:
        found = filled(halves(), area, how)
        assert found.crop((40, 0, 80, 40)).getextrema() == ((0, 0), (0, 0), (255, 255))
        assert found.getpixel((30, 30)) == RED
    assert filled(halves(), area, "noise").tobytes() == filled(halves(), area, "noise").tobytes()
    surrounded = Image.new("RGB", (80, 40), BLUE)
    surrounded.paste(RED, (30, 10, 50, 30))
    hole = filled(surrounded, mask((28, 8, 52, 32)), "neighbours").getpixel((40, 20))
    assert isinstance(hole, tuple) and hole[2] > 200 and hole[0] < 60, "the red is gone"


def test_pasting_back_scales_into_the_box_and_keeps_what_is_black() -> None:
    made = Image.new("RGB", (64, 64), (0, 255, 0))
    found = pasted_back(halves(), made, mask((10, 10, 20, 20)), (5, 5, 25, 25), 0)
    assert found.getpixel((15, 15)) == (0, 255, 0)
    assert (found.getpixel((7, 7)), found.getpixel((60, 20))) == (RED, BLUE)
    soft = pasted_back(halves(), made, mask((10, 10, 20, 20)), (5, 5, 25, 25), 4).getpixel((8, 15))
    assert isinstance(soft, tuple) and 0 < soft[1] < 255
