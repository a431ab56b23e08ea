"""Draw the figures of one or more runs as bars, with the published ranges behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image, ImageDraw

from core.imagefile.fonts import built_in_font
from core.scenes.report import SceneReport

WIDTH, MARGIN, LABELS = 1200, 32, 300
"""Pixels: of the image, around it, and of the column of row labels."""
BAR, GAP, ROW_GAP = 24, 4, 16
TITLE_SPACE, AXIS_SPACE, HEAD_SPACE = 66, 56, 44
MAX_TICKS = 6
INK, GREY, GRID, BAND = (24, 24, 27), (82, 82, 91), (228, 228, 231), (254, 226, 178)
COLOURS = ((29, 78, 216), (190, 24, 93), (4, 120, 87), (126, 34, 206), (180, 83, 9), (14, 116, 144))
"""Colours of runs; a seventh run repeats the first."""


@dataclass(frozen=True)
class Panel:
    """Rows of (label, one value per run, None where unknown) on one axis, and the published range in its unit."""

    title: str
    unit: str
    rows: Sequence[tuple[str, Sequence[float | None]]]
    band: tuple[float, float]
    band_label: str
    details: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """(label, run) -> text behind the value."""

    @property
    def height(self) -> int:
        return TITLE_SPACE + sum(self.row_height(values) for _, values in self.rows) + AXIS_SPACE

    @staticmethod
    def row_height(values: Sequence[float | None]) -> int:
        return len(values) * (BAR + GAP) + ROW_GAP

    @property
    def largest(self) -> float:
        measured = [value for _, values in self.rows for value in values if value is not None]
        return max([*measured, self.band[1]])


def draw_chart(runs: Sequence[SceneReport]) -> bytes:
    """Return a PNG of the runs' seconds per image, peak memory and load seconds."""
    panels = _panels(runs)
    legend_height = 30 * (len(runs) + 1)
    height = MARGIN + HEAD_SPACE + legend_height + sum(panel.height for panel in panels) + MARGIN
    image = Image.new("RGB", (WIDTH, height), "white")
    draw = ImageDraw.Draw(image)
    first = runs[0].scenes[0]
    head = f"Scenes at {first.width}x{first.height} pixels"
    draw.text((MARGIN, MARGIN), head, INK, built_in_font(30))
    _draw_legend(draw, runs, MARGIN + HEAD_SPACE)
    top = MARGIN + HEAD_SPACE + legend_height
    for panel in panels:
        _draw_panel(draw, panel, top)
        top += panel.height
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _panels(runs: Sequence[SceneReport]) -> list[Panel]:
    published = runs[0].published
    figures = [{scene.id: scene for scene in run.scenes} for run in runs]
    titles = {scene.id: scene.title for run in runs for scene in run.scenes}
    times = [(titles[key], [run[key].seconds_per_image if key in run else None for run in figures]) for key in titles]
    memory = [(titles[key], [run[key].peak_memory_gb if key in run else None for run in figures]) for key in titles]
    loads = [("Loading the model", [run.load_seconds for run in runs])]
    load = published.first_load_seconds
    return [
        Panel("Time per image", "s", times, published.seconds, _range(published.seconds, "s"), _costs(runs)),
        Panel("Peak memory", "GB", memory, published.memory_gb, _range(published.memory_gb, "GB")),
        Panel("Time to load", "s", loads, (load, load), f"published first load: {load:g} s"),
    ]


def _costs(runs: Sequence[SceneReport]) -> dict[tuple[str, int], str]:
    """Return what explains a time: steps, and cost against the authors' recipe."""
    return {
        (scene.title, index): f" ({scene.num_inference_steps} steps, cost {scene.cost_factor:.3g}x)"
        for index, run in enumerate(runs)
        for scene in run.scenes
    }


def _range(values: tuple[float, float], unit: str) -> str:
    return f"published, all scenes: {values[0]:g} to {values[1]:g} {unit}"


def _draw_legend(draw: ImageDraw.ImageDraw, runs: Sequence[SceneReport], top: int) -> None:
    published = runs[0].published
    entries = [(COLOURS[index % len(COLOURS)], run.label) for index, run in enumerate(runs)]
    text = f"as published: {published.hardware}, {published.model}, {published.steps[0]} to {published.steps[1]} steps"
    for index, (colour, label) in enumerate([*entries, (BAND, text)]):
        y = top + 30 * index
        draw.rectangle((MARGIN, y + 3, MARGIN + 20, y + 19), fill=colour, outline=GREY if colour == BAND else None)
        draw.text((MARGIN + 32, y + 11), label, INK, built_in_font(19), anchor="lm")


def _draw_panel(draw: ImageDraw.ImageDraw, panel: Panel, top: int) -> None:
    left, right = MARGIN + LABELS, WIDTH - MARGIN - 90
    step = _tick(panel.largest)
    end = step * math.ceil(panel.largest / step - 1e-9)
    first, last = top + TITLE_SPACE, top + panel.height - AXIS_SPACE

    def x_of(value: float) -> float:
        return left + (right - left) * value / end

    draw.text((MARGIN, top + 14), f"{panel.title} ({panel.unit})", INK, built_in_font(22))
    low, high = (x_of(value) for value in panel.band)
    draw.rectangle((low - 1, first, max(high, low + 3), last), fill=BAND)
    anchor = "ls" if low < (left + right) / 2 else "rs"
    draw.text((low if anchor == "ls" else high, first - 5), panel.band_label, GREY, built_in_font(17), anchor=anchor)
    for index in range(round(end / step) + 1):
        x = x_of(index * step)
        draw.line((x, first, x, last), fill=GRID if index else GREY, width=1)
        draw.text((x, last + 8), f"{index * step:g}", GREY, built_in_font(17), anchor="ma")
    draw.line((left, last, right, last), fill=GREY, width=1)
    y = first + ROW_GAP // 2
    for label, values in panel.rows:
        middle = y + len(values) * (BAR + GAP) / 2
        draw.text((left - 14, middle), label, INK, built_in_font(19), anchor="rm")
        for index, value in enumerate(values):
            bar_top = y + index * (BAR + GAP)
            detail = panel.details.get((label, index), "") if value is not None else ""
            text = f"{value:.3g} {panel.unit}{detail}" if value is not None else "not known"
            bar_end = left if value is None else max(x_of(value), left + 2)
            _draw_bar(draw, left, bar_end, bar_top, COLOURS[index % len(COLOURS)], text)
        y += panel.row_height(values)


def _draw_bar(
    draw: ImageDraw.ImageDraw, left: float, end: float, top: float, colour: tuple[int, int, int], text: str
) -> None:
    """Draw a bar with its text behind it, or inside where there is no room behind it."""
    if end > left:
        draw.rectangle((left, top, end, top + BAR - 1), fill=colour)
    middle, font = top + BAR / 2, built_in_font(17)
    if end + 8 + draw.textlength(text, font) <= WIDTH - MARGIN:
        draw.text((end + 8, middle), text, INK, font, anchor="lm")
    else:
        draw.text((end - 8, middle), text, "white", font, anchor="rm")


def _tick(largest: float) -> float:
    """Return a distance of ticks, 1, 2 or 5 times a power of ten, that makes at most MAX_TICKS."""
    least = max(largest, 1e-6) / MAX_TICKS
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
