"""Labelled sheets: rows and columns by axes, texts that fit, formats, missing files."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from core.errors import InvalidInput, NotFound
from core.imagefile.conversion import Cell
from core.imagefile.fonts import drawable, font_for, lines_within
from core.imagefile.grid_sheet import SheetFormat, grid_sheet
from core.parameters.grid_layout import caption, lay_out

RED, BLUE, GREY, BACK = (200, 30, 30), (30, 30, 200), (63, 63, 70), (24, 24, 27)


def cell(colour: tuple[int, int, int]) -> Cell:
    buffer = BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return Cell(buffer.getvalue, "")


def missing() -> bytes:
    raise NotFound("no such file", code="image_file_missing")


def test_the_last_axes_become_columns_and_equal_ones_are_left_out() -> None:
    items = [{"prompt": p, "seed": 1, "recipe": r} for p in ("a", "b") for r in ("anime", "photo", "art")]
    layout = lay_out(items)
    assert layout is not None
    assert (layout.rows, layout.columns) == (["a", "b"], ["recipe anime", "recipe photo", "recipe art"])
    assert layout.places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    three = lay_out([{"seed": s, "guidance_scale": g, "image": i} for s in (1, 2) for g in (1, 2.5) for i in (0, 1)])
    assert three is not None
    assert three.rows == ["seed 1\nguidance 1", "seed 1\nguidance 2.5", "seed 2\nguidance 1", "seed 2\nguidance 2.5"]
    assert three.columns == ["image 1", "image 2"]
    one = lay_out([{"seed": 1}, {"seed": 2}])
    assert one is not None and (one.rows, one.columns) == ([""], ["seed 1", "seed 2"])


def test_items_that_no_axis_tells_apart_have_no_layout() -> None:
    for items in (
        [],
        [{"seed": 1}],
        [{"seed": 1}, {"seed": 1}],
        [{"seed": 1}, {"job": 0}],
        [{"seed": 1}, {"seed": 2}, {"seed": 1}],
    ):
        assert lay_out(items) is None


def test_values_are_shown_in_words() -> None:
    axes = {
        "prompt": "a fox", "matrix_1": "", "matrix_2": "night", "num_inference_steps": 8, "styles": [], "loras":
        [{"name": "ink", "scale": 0.5}], "negative_prompt": "",
    }  # fmt: skip
    assert caption(axes) == "a fox, + night, 8 steps, no style, LoRA ink:0.5, negative: none"
    matrix = lay_out([{"prompt": "p", "matrix_1": a, "matrix_2": b} for a in ("", "x") for b in ("", "y")])
    assert matrix is not None and (matrix.rows, matrix.columns) == (["without", "+ x"], ["without", "+ y"])


@pytest.mark.parametrize("format", ["png", "webp"])
def test_images_and_labels_are_where_the_layout_says(format: SheetFormat) -> None:
    cells = {(0, 0): cell(RED), (0, 1): cell(BLUE), (1, 0): Cell(None, "queued"), (1, 1): Cell(missing, "")}
    sheet = Image.open(BytesIO(grid_sheet(cells, ["one", "two"], ["a", "b"], title="t", side=64, format=format)))
    assert sheet.format == format.upper()
    picture = sheet.convert("RGB")
    left, top = picture.width - 2 * 72, picture.height - 2 * 72
    middles = [picture.getpixel((left + x * 72 + 32, top - 8 + y * 72 + 50)) for y in (0, 1) for x in (0, 1)]
    for found, wanted in zip(middles, (RED, BLUE, GREY, GREY), strict=True):
        assert isinstance(found, tuple)
        assert all(abs(a - b) < 12 for a, b in zip(found, wanted, strict=True)), (format, found, wanted)
    above, beside = picture.crop((left, 0, picture.width, top)), picture.crop((0, top, left, picture.height))
    assert above.getextrema() != Image.new("RGB", (1, 1), BACK).getextrema()
    assert max(high for _, high in beside.getextrema()) > 200, "row labels are drawn"  # type: ignore[misc]


def test_long_labels_are_broken_and_cut_to_what_fits() -> None:
    for text in ("a red fox " * 40, "x" * 900, "一只红色的狐狸" * 60):
        font = font_for(text, 14)
        lines = lines_within(f"{text}\nrecipe anime", font, 160, 5)
        assert len(lines) == 5 and lines[3].endswith("...") and lines[4] == "recipe anime"
        assert all(font.getlength(line) <= 160 for line in lines)
    assert lines_within("short", font_for("short", 14), 160, 5) == ["short"]
    assert drawable("é一", font_for("a", 14)) == "é?"


def test_too_large_sheets_are_refused_and_missing_files_are_said() -> None:
    with pytest.raises(InvalidInput, match="WebP holds 16383 pixels"):
        grid_sheet({}, ["x"] * 40, ["y"], side=512, format="webp")
    with pytest.raises(InvalidInput, match="choose a smaller side"):
        grid_sheet({}, ["x"] * 40, ["y"] * 40, side=512)
    with pytest.raises(NotFound) as caught:
        grid_sheet({(0, 0): Cell(missing, "")}, ["x"], ["y"], side=64)
    assert caught.value.code == "image_file_missing"
