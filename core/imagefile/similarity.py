"""Measure how alike two images are: PSNR and SSIM, with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops, ImageMath

WINDOW = 7
"""Side in pixels of the windows of SSIM, which all have the same weight."""
_SAMPLES = WINDOW * WINDOW
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class Similarity:
    """`psnr` in decibels over the three channels, None for equal pixels; `ssim` of the luma, at most 1.

    `equal_share`: share of pixels that are the same to the bit. `largest_difference`: of one channel, 0..255.
    """

    psnr: float | None
    ssim: float
    equal_share: float
    largest_difference: int


def similarity(first: Image.Image, second: Image.Image) -> Similarity:
    """Compare two RGB images of one size, at least WINDOW pixels a side."""
    difference = ImageChops.difference(first, second)
    counts = difference.histogram()
    squares = sum(count * (value % 256) ** 2 for value, count in enumerate(counts))
    mean_square = squares / (first.width * first.height * 3)
    red, green, blue = difference.split()
    most = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    equal = most.histogram()[0] / (first.width * first.height)
    psnr = 10 * math.log10(255**2 / mean_square) if mean_square else None
    largest = max((value for value, count in enumerate(most.histogram()) if count), default=0)
    return Similarity(psnr, structural_similarity(first.convert("L"), second.convert("L")), equal, largest)


def structural_similarity(first: Image.Image, second: Image.Image) -> float:
    """Return the mean SSIM of two images of mode L and one size (Wang et al. 2004) over all WINDOW x WINDOW windows.

    Windows have uniform weights and sample variances, as in scikit-image's `structural_similarity` with its defaults.
    Pillow averages blocks that do not overlap, so each offset of the windows is one pass over the image.
    """
    x, y = first.convert("F"), second.convert("F")
    products = [_math(lambda each: each["a"] * each["b"], a=a, b=b) for a, b in ((x, x), (y, y), (x, y))]
    total, windows = 0.0, 0
    for top in range(min(WINDOW, first.height - WINDOW + 1)):
        for left in range(min(WINDOW, first.width - WINDOW + 1)):
            columns, rows = (first.width - left) // WINDOW, (first.height - top) // WINDOW
            box = (left, top, left + columns * WINDOW, top + rows * WINDOW)
            means = [layer.reduce(WINDOW, box) for layer in (x, y, *products)]
            total += _mean_ssim(*means) * columns * rows
            windows += columns * rows
    return total / windows


def _mean_ssim(ux: Image.Image, uy: Image.Image, uxx: Image.Image, uyy: Image.Image, uxy: Image.Image) -> float:
    """Return the mean over windows from the means of x, y, x*x, y*y and x*y in each."""
    norm = _SAMPLES / (_SAMPLES - 1)

    def ssim(a: dict[str, Any]) -> Any:  # noqa: ANN401 -- operands of ImageMath
        product = a["ux"] * a["uy"]
        squares = a["ux"] * a["ux"] + a["uy"] * a["uy"]
        covariance = (a["uxy"] - product) * norm
        variances = (a["uxx"] + a["uyy"] - squares) * norm
        return ((product * 2 + _C1) * (covariance * 2 + _C2)) / ((squares + _C1) * (variances + _C2))

    found = _math(ssim, ux=ux, uy=uy, uxx=uxx, uyy=uyy, uxy=uxy).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    return float(found)  # type: ignore[arg-type]


def _math(expression: Callable[[dict[str, Any]], Any], **images: Image.Image) -> Image.Image:
    result: Image.Image = ImageMath.lambda_eval(expression, **images)
    return result
