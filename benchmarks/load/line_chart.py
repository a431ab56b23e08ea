"""Draw lines over a common axis, each panel with its own scale, both logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageDraw

from core.imagefile.fonts import built_in_font

WIDTH, PANEL_HEIGHT, MARGIN, LEFT = 1000, 380, 28, 90
"""Pixels: of the image, of a panel, around it, and of the column of the axis."""
HEAD, FOOT = 56, 44
INK, GREY, GRID = (24, 24, 27), (82, 82, 91), (228, 228, 231)
COLOURS = ((82, 82, 91), (29, 78, 216), (190, 24, 93))


@dataclass(frozen=True)
class Line:
    """One line; all values are above 0."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


def draw_lines(title: str, axis: str, panels: Sequence[tuple[str, Sequence[Line]]]) -> bytes:
    """Return a PNG with a panel for each title and its lines."""
    image = Image.new("RGB", (WIDTH, 2 * MARGIN + HEAD + PANEL_HEIGHT * len(panels)), "white")
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN), title, INK, built_in_font(26))
    for index, (name, lines) in enumerate(panels):
        _draw_panel(draw, MARGIN + HEAD + index * PANEL_HEIGHT, name, axis, lines)
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _draw_panel(draw: ImageDraw.ImageDraw, top: int, name: str, axis: str, lines: Sequence[Line]) -> None:
    left, right, first, last = MARGIN + LEFT, WIDTH - MARGIN - 130, top + 40, top + PANEL_HEIGHT - FOOT
    sizes = sorted({x for line in lines for x in line.x})
    ticks = _ticks([y for line in lines for y in line.y])

    def x_of(value: float) -> float:
        return left + (right - left) * _share(value, sizes[0], sizes[-1])

    def y_of(value: float) -> float:
        return last - (last - first) * _share(value, ticks[0], ticks[-1])

    draw.text((MARGIN, top + 4), name, INK, built_in_font(20))
    for tick in ticks:
        draw.line((left, y_of(tick), right, y_of(tick)), fill=GRID)
        draw.text((left - 10, y_of(tick)), f"{tick:g}", GREY, built_in_font(16), anchor="rm")
    for size in sizes:
        draw.line((x_of(size), first, x_of(size), last), fill=GRID)
        draw.text((x_of(size), last + 6), f"{size:g}", GREY, built_in_font(16), anchor="ma")
    draw.text((right + 24, last + 6), axis, GREY, built_in_font(16), anchor="la")
    ends: list[float] = []
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x_of(x), y_of(y)) for x, y in zip(line.x, line.y, strict=True)]
        draw.line(points, fill=colour, width=3)
        for x, y in points:
            draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
        label_y = points[-1][1]
        while any(abs(label_y - other) < 20 for other in ends):
            label_y += 20
        ends.append(label_y)
        draw.text((right + 14, label_y), f"{line.label}: {line.y[-1]:.4g}", colour, built_in_font(17), anchor="lm")


def _share(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low) if high > low else 0.5


def _ticks(values: Sequence[float]) -> list[float]:
    """Return 1, 3, 10, 30 ... around the values."""
    low, high = math.floor(2 * math.log10(min(values))), math.ceil(2 * math.log10(max(values)))
    return [10 ** (each // 2) * (3 if each % 2 else 1) for each in range(low, max(high, low + 1) + 1)]
