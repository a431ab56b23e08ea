"""Draw the rendered scenes side by side, each with its prompt, settings and time."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageDraw

from core.imagefile.fonts import Font, built_in_font, chinese_font
from core.scenes.report import SceneFigures, SceneReport
from core.scenes.scenes import load_scenes

CELL, GAP, HEAD, CAPTION = 512, 24, 92, 132
"""Pixels: side of an image, around it, of the heading, and of the text below an image."""
COLUMNS = 2
INK, GREY = (24, 24, 27), (82, 82, 91)


def draw_sheet(report: SceneReport, images: Sequence[bytes]) -> bytes:
    """Return a PNG of the encoded images, in the order of the report's scenes."""
    rows = -(-len(images) // COLUMNS)
    width = COLUMNS * (CELL + GAP) + GAP
    sheet = Image.new("RGB", (width, HEAD + rows * (CELL + CAPTION + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 20), report.label, INK, built_in_font(26))
    note = "random weights: the images are noise" if report.random_weights else f"{report.dtype}, {report.memory_policy}"
    draw.text((GAP, 56), note, GREY, built_in_font(19))
    for index, (figures, data) in enumerate(zip(report.scenes, images, strict=True)):
        left = GAP + (index % COLUMNS) * (CELL + GAP)
        top = HEAD + (index // COLUMNS) * (CELL + CAPTION + GAP)
        with Image.open(BytesIO(data)) as opened:
            shown = opened.convert("RGB")
        shown.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
        sheet.paste(shown, (left + (CELL - shown.width) // 2, top + (CELL - shown.height) // 2))
        _draw_caption(draw, figures, left, top + CELL + 10)
    buffer = BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_caption(draw: ImageDraw.ImageDraw, figures: SceneFigures, left: int, top: int) -> None:
    draw.text((left, top), figures.title, INK, built_in_font(22))
    settings = f"{figures.num_inference_steps} steps, guidance {figures.guidance_scale:g}, seed {figures.seed}"
    draw.text((left, top + 30), f"{settings}: {figures.seconds_per_image:.3g} s", GREY, built_in_font(18))
    prompt, font = _prompt(figures)
    for line, text in enumerate(_lines(draw, prompt, font)[:2]):
        draw.text((left, top + 56 + 26 * line), text, GREY, font)


def _prompt(figures: SceneFigures) -> tuple[str, Font]:
    """Return the Chinese prompt if a font for it is installed, else its translation."""
    chinese = chinese_font(18)
    if chinese is not None:
        return figures.prompt, chinese
    translated = {scene.id: scene.prompt_en for scene in load_scenes().scenes}
    return translated.get(figures.id, figures.id), built_in_font(18)


def _lines(draw: ImageDraw.ImageDraw, text: str, font: Font) -> list[str]:
    """Break after commas and spaces, so that each line fits an image's width."""
    lines, line = [], ""
    for word in text.replace(" ", " \0").split("\0"):
        if line and draw.textlength(line + word, font) > CELL:
            lines.append(line.rstrip())
            line = ""
        line += word
    return [*lines, line]
