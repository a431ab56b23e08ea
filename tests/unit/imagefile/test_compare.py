"""Comparison of two images: figures checked against scikit-image, settings that differ, the picture of both."""

from __future__ import annotations

import math
from io import BytesIO

import pytest
from PIL import Image, ImageFilter

from core.imagefile import ImageMetadata, encode, read_metadata
from core.imagefile.compare import compare, differences, side_by_side
from core.imagefile.similarity import similarity
from core.render import LoraRequest


def pattern(width: int, height: int) -> Image.Image:
    """Return an image of gradients and waves that needs no file."""
    image = Image.new("RGB", (width, height))
    image.putdata(
        [
            ((x * 5 + y * 3) % 256, (x * x // 7 + y) % 256, int(127 + 120 * math.sin(x / 9) * math.cos(y / 5)))
            for y in range(height)
            for x in range(width)
        ]
    )
    return image


PATTERN = pattern(97, 61)
PAIRS = {
    "blur": (PATTERN, PATTERN.filter(ImageFilter.BoxBlur(1))),
    "quantised": (PATTERN, PATTERN.point(lambda value: value // 16 * 16)),
    "brighter": (PATTERN, PATTERN.point(lambda value: min(value + 10, 255))),
    "small": (PATTERN.crop((0, 0, 9, 8)), PATTERN.crop((3, 2, 12, 10))),
}
SCIKIT_IMAGE = {
    "blur": (0.891742, 22.574937),
    "quantised": (0.980222, 29.192774),
    "brighter": (0.995568, 28.200993),
    "small": (0.938639, 23.304979),
}
"""(structural_similarity of the luma with its defaults, peak_signal_noise_ratio of RGB), by scikit-image 0.26.0."""


@pytest.mark.parametrize("name", PAIRS)
def test_the_figures_are_those_of_scikit_image(name: str) -> None:
    found = similarity(*PAIRS[name])
    ssim, psnr = SCIKIT_IMAGE[name]
    assert found.ssim == pytest.approx(ssim, abs=2e-6)
    assert found.psnr == pytest.approx(psnr, abs=2e-6)


def test_equal_images_have_no_psnr_and_ssim_one() -> None:
    found = similarity(PATTERN, PATTERN)
    assert (found.psnr, found.equal_share, found.largest_difference) == (None, 1.0, 0)
    assert found.ssim == pytest.approx(1.0, abs=1e-6)
    changed = PATTERN.copy()
    changed.putpixel((0, 0), (255, 0, 0))
    assert 0.999 < similarity(PATTERN, changed).equal_share < 1


def file_of(image: Image.Image, **changes: object) -> bytes:
    size = {"width": image.width, "height": image.height}
    values: dict[str, object] = {"prompt": "a fox", "seed": 1, "num_inference_steps": 8, "model": "demo", **size}
    return encode(image, ImageMetadata.model_validate(values | changes))


def test_the_settings_that_differ_are_named_in_order() -> None:
    first = file_of(PATTERN, loras=[LoraRequest(name="ink")], job_id="a")
    second = file_of(PATTERN, seed=2, prompt="一只狐狸", job_id="b")
    found = differences(read_metadata(first), read_metadata(second))
    assert [(each.field, each.first, each.second) for each in found] == [
        ("prompt", "a fox", "一只狐狸"),
        ("seed", 1, 2),
        ("loras", [{"name": "ink", "scale": 1.0}], None),
    ]
    assert differences(read_metadata(first), read_metadata(first)) == []


def test_the_picture_shows_both_and_their_difference() -> None:
    first, second = file_of(PATTERN), file_of(PAIRS["blur"][1], seed=2)
    found = compare(first, second)
    assert found.summary.startswith("PSNR 22.57 dB · SSIM 0.8917")
    sheet = Image.open(BytesIO(side_by_side(first, second, found, ("one.png", "two.png")))).convert("RGB")
    assert sheet.width == 3 * 160 + 4 * 12
    for number, image in enumerate((PATTERN, PAIRS["blur"][1])):
        left, top = 12 + number * 172, 2 * 12 + 20
        assert sheet.crop((left, top, left + 97, top + 61)).tobytes() == image.tobytes()
    below = sheet.crop((0, 2 * 12 + 20 + 61 + 12, sheet.width, sheet.height))
    assert max(high for _, high in below.getextrema()) > 200, "texts are drawn"  # type: ignore[misc]


def test_images_of_different_or_too_small_sizes_have_no_figures() -> None:
    small = file_of(PATTERN.crop((0, 0, 6, 6)))
    other = compare(file_of(PATTERN), small)
    assert other.figures is None and "97x61 and 6x6" in other.summary
    assert side_by_side(file_of(PATTERN), small, other, ("a", "b")).startswith(b"\x89PNG")
    assert "too small" in compare(small, small).summary
