"""Draw a grid of images with labels of its rows and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Literal

from PIL import Image, ImageDraw

from core.errors import InvalidInput, NotFound
from core.imagefile.conversion import WEBP_SIDE, Cell, paste_cell
from core.imagefile.fonts import LINE as _LINE
from core.imagefile.fonts import SIZE as _SIZE
from core.imagefile.fonts import font_for, lines_within, write_lines

SheetFormat = Literal["png", "webp"]
_BACKGROUND, _TEXT, _QUIET = (24, 24, 27), (244, 244, 245), (161, 161, 170)
_MARGIN = 8
_COLUMN_LINES, _TITLE_LINES = 4, 2
_MAX_PIXELS = 100_000_000


def grid_sheet(
    cells: Mapping[tuple[int, int], Cell],
    columns: Sequence[str],
    rows: Sequence[str],
    *,
    title: str = "",
    side: int = 256,
    format: SheetFormat = "png",
) -> bytes:
    """Return a sheet of the cells by (row, column), with a label above each column and left of each row.

    `side`: the longest side of an image in it, in pixels. Files are read one at a time. A cell without an image is grey,
    with its caption in it. Raises InvalidInput for too large a sheet, NotFound when the files of all images are missing.
    """
    left = _row_labels_width(rows, side)
    column_lines = [lines_within(text, font_for(text, _SIZE), side, _COLUMN_LINES) for text in columns]
    width = left + len(columns) * (side + _MARGIN) + _MARGIN
    title_lines = lines_within(title, font_for(title, _SIZE), width - 2 * _MARGIN, _TITLE_LINES)
    top = _MARGIN + _LINE * (len(title_lines) + max(map(len, column_lines))) + (_MARGIN if title_lines else 0)
    height = top + len(rows) * (side + _MARGIN) + _MARGIN
    _check(width, height, format)
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    write_lines(draw, title_lines, _MARGIN, _MARGIN, _TEXT)
    for number, lines in enumerate(column_lines):
        write_lines(draw, lines, left + _MARGIN + number * (side + _MARGIN), top - _LINE * len(lines), _TEXT)
    for number, text in enumerate(rows):
        lines = lines_within(text, font_for(text, _SIZE), left - _MARGIN, max(side // _LINE, 1))
        y = top + number * (side + _MARGIN)
        write_lines(draw, lines, _MARGIN, y + max((side - _LINE * len(lines)) // 2, 0), _TEXT)
    _draw_cells(sheet, draw, cells, left + _MARGIN, top, side)
    file = BytesIO()
    sheet.save(file, format, **({"quality": 90, "method": 4} if format == "webp" else {}))
    return file.getvalue()


def _row_labels_width(rows: Sequence[str], side: int) -> int:
    """Return the width that the longest label takes, at most the side of an image; 0 without labels."""
    widest = max((font_for(line, _SIZE).getlength(line) for text in rows for line in text.split("\n") if line), default=0)
    return min(int(widest) + 1, max(side, 120)) + _MARGIN if widest else 0


def _check(width: int, height: int, format: SheetFormat) -> None:
    if format == "webp" and max(width, height) > WEBP_SIDE:
        raise InvalidInput(
            f"The sheet is {width}x{height}, and WebP holds {WEBP_SIDE} pixels a side: choose a smaller side, or PNG.",
            field="format",
        )
    if width * height > _MAX_PIXELS:
        raise InvalidInput(f"The sheet would be {width}x{height}: choose a smaller side.", field="side")


def _draw_cells(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, cells: Mapping[tuple[int, int], Cell], left: int, top: int, side: int
) -> None:
    missing = 0
    for (row, column), cell in cells.items():
        x, y = left + column * (side + _MARGIN), top + row * (side + _MARGIN)
        text = cell.caption if cell.load is None else ""
        try:
            paste_cell(sheet, draw, cell, x, y, side)
        except NotFound:
            missing += 1
            text = "file missing"
        except InvalidInput:
            text = "unreadable file"
        lines = lines_within(text, font_for(text, _SIZE), side - 2 * _MARGIN, max(side // _LINE - 1, 1))
        write_lines(draw, lines, x + _MARGIN, y + _MARGIN, _QUIET)
    if missing and missing == sum(cell.load is not None for cell in cells.values()):
        raise NotFound("The files of all these images are missing from the store.", code="image_file_missing")
