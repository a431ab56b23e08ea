"""Compare two image files: figures, settings that differ, and both side by side with their difference."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from core.imagefile.fonts import LINE as _LINE
from core.imagefile.fonts import SIZE as _SIZE
from core.imagefile.fonts import font_for, lines_within, write_lines
from core.imagefile.metadata import FileMetadata
from core.imagefile.reading import open_rgb, read_metadata
from core.imagefile.similarity import WINDOW, Similarity, similarity

AMPLIFIED = 4
"""Factor by which the drawn difference is brightened."""
_MARGIN, _MOST_SIDE = 12, 1024
_BACKGROUND, _TEXT, _QUIET = (24, 24, 27), (244, 244, 245), (161, 161, 170)
_FIELDS = (
    *("prompt", "negative_prompt", "model", "seed", "num_inference_steps", "guidance_scale", "width", "height", "strength"),
    *("start_sigma", "scheduler", "weights_revision", "loras", "farm_version"),
)
_RECORD_FIELDS = ("device", "dtype", "memory_policy", "attention_backend", "batch_sizes", "versions")


@dataclass(frozen=True)
class Difference:
    """A setting that differs; None where an image does not say."""

    field: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Comparison:
    """`figures` are None when sizes differ or a side is shorter than a window of SSIM. `sizes` are (width, height)."""

    sizes: tuple[tuple[int, int], tuple[int, int]]
    figures: Similarity | None
    differences: list[Difference]

    @property
    def summary(self) -> str:
        """The figures in words."""
        if self.figures is None:
            (a, b), (c, d) = self.sizes
            return "no figures: " + (
                f"the sizes are {a}x{b} and {c}x{d}" if (a, b) != (c, d) else "the images are too small"
            )
        found = self.figures
        if found.psnr is None:
            return "the same pixels"
        return (
            f"PSNR {found.psnr:.2f} dB · SSIM {found.ssim:.4f} · {found.equal_share:.1%} of pixels equal · "
            f"largest difference {found.largest_difference} of 255"
        )


def compare(first: bytes, second: bytes) -> Comparison:
    """Compare two files. Raises InvalidInput like `open_image`."""
    a, b = open_rgb(first), open_rgb(second)
    measurable = a.size == b.size and min(a.size) >= WINDOW
    return Comparison(
        (a.size, b.size),
        similarity(a, b) if measurable else None,
        differences(read_metadata(first), read_metadata(second)),
    )


def differences(first: FileMetadata, second: FileMetadata) -> list[Difference]:
    """Return the settings in which two files differ, by their metadata of imagefarm or A1111; versions one by one."""
    a, b = _settings(first), _settings(second)
    order = {name: number for number, name in enumerate(_FIELDS)}
    names = sorted({*a, *b}, key=lambda name: (order.get(name, len(order)), name))
    return [Difference(name, a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)]


def _settings(metadata: FileMetadata) -> dict[str, Any]:
    own = metadata.imagefarm
    if own is None:
        return metadata.settings()
    values = own.model_dump(mode="json", exclude_none=True)
    found = {name: values[name] for name in _FIELDS if values.get(name) not in (None, "", [])}
    record = values.get("record") or {}
    found |= {name: record[name] for name in _RECORD_FIELDS if name in record}
    return found | {f"version of {name}": value for name, value in found.pop("versions", {}).items()}


def side_by_side(first: bytes, second: bytes, comparison: Comparison, names: tuple[str, str]) -> bytes:
    """Return a PNG of both images and, for equal sizes, their difference, with the figures and the settings that differ."""
    images = [open_rgb(first), open_rgb(second)]
    titles = [f"A: {names[0]}", f"B: {names[1]}"]
    if images[0].size == images[1].size:
        images.append(ImageChops.difference(*images).point(lambda value: min(value * AMPLIFIED, 255)))
        titles.append(f"difference x{AMPLIFIED}")
    for image in images:
        image.thumbnail((_MOST_SIDE, _MOST_SIDE), Image.Resampling.LANCZOS)
    columns = [max(image.width, 160) for image in images]
    width, tallest = sum(columns) + _MARGIN * (len(columns) + 1), max(image.height for image in images)
    lines = _lines(comparison, width - 2 * _MARGIN)
    top = 2 * _MARGIN + _LINE
    sheet = Image.new("RGB", (width, top + tallest + _MARGIN + _LINE * len(lines) + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    left = _MARGIN
    for image, title, column in zip(images, titles, columns, strict=True):
        write_lines(draw, lines_within(title, font_for(title, _SIZE), column, 1), left, _MARGIN, _TEXT)
        sheet.paste(image, (left, top))
        left += column + _MARGIN
    write_lines(draw, lines[:1], _MARGIN, top + tallest + _MARGIN, _TEXT)
    write_lines(draw, lines[1:], _MARGIN, top + tallest + _MARGIN + _LINE, _QUIET)
    file = BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _lines(comparison: Comparison, width: int) -> list[str]:
    """Return the texts below the images, broken to the width."""
    found = lines_within(comparison.summary, font_for(comparison.summary, _SIZE), width, 1)
    texts = [f"{each.field}: {shown(each.first)} | {shown(each.second)}" for each in comparison.differences]
    for text in texts or ["no setting differs"]:
        found += lines_within(text, font_for(text, _SIZE), width, 3)
    return found


def shown(value: Any) -> str:  # noqa: ANN401 -- a value of any setting
    """Return a setting's value for people."""
    if value is None:
        return "not stated"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
