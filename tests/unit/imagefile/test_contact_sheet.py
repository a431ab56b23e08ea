"""Contact sheets: bounded memory, and missing or damaged files."""

from __future__ import annotations

from functools import partial
from io import BytesIO

import pytest
from PIL import Image

from core.errors import InvalidInput, NotFound
from core.imagefile import conversion
from core.imagefile.conversion import Cell, contact_sheet
from core.imagefile.reading import to_rgb

RED, EMPTY = (200, 30, 30), (63, 63, 70)


def file_of(format: str = "PNG", side: int = 128) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (side, side), RED).save(buffer, format)
    return buffer.getvalue()


def missing() -> bytes:
    raise NotFound("no such file", code="image_file_missing")


def centre(sheet: bytes, cell: int, side: int = 64) -> tuple[int, int, int]:
    """Return the colour in the middle of a cell of the first row."""
    found = Image.open(BytesIO(sheet)).convert("RGB").getpixel((8 + cell * (side + 8) + side // 2, 8 + side // 2))
    assert isinstance(found, tuple)
    return found[0], found[1], found[2]


def test_a_missing_or_damaged_file_becomes_an_empty_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    captions: list[str] = []

    def record(caption: str, side: int) -> str:
        captions.append(caption)
        return caption

    monkeypatch.setattr(conversion, "_shortened", record)
    cells = [Cell(file_of, "a"), Cell(missing, "b"), Cell(lambda: file_of()[:60], "c"), Cell(None, "queued: d")]
    sheet = contact_sheet(cells, columns=4, side=64)
    assert [centre(sheet, number) for number in range(4)] == [RED, EMPTY, EMPTY, EMPTY]
    assert captions == ["a", "file missing: b", "unreadable file: c", "queued: d"]


def test_a_sheet_whose_files_are_all_missing_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        contact_sheet([Cell(missing, "a"), Cell(None, "queued: b"), Cell(missing, "c")])
    assert caught.value.code == "image_file_missing"


def test_a_sheet_without_any_file_has_empty_cells() -> None:
    assert centre(contact_sheet([Cell(None, "queued: a")], side=64), 0) == EMPTY


def test_files_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th file is read only after the file before it was decoded and pasted."""
    order: list[str] = []
    paste = conversion._reduced

    def load(number: int) -> bytes:
        order.append(f"read {number}")
        return file_of()

    def reduced(data: bytes, side: int) -> Image.Image:
        order.append("decode")
        return paste(data, side)

    monkeypatch.setattr(conversion, "_reduced", reduced)
    contact_sheet([Cell(partial(load, number), "x") for number in range(3)], side=64)
    assert order == ["read 0", "decode", "read 1", "decode", "read 2", "decode"]


def test_jpeg_files_are_decoded_at_a_fraction_of_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []

    def spy(image: Image.Image) -> Image.Image:
        decoded.append(image.size)
        return to_rgb(image)

    monkeypatch.setattr(conversion, "to_rgb", spy)
    contact_sheet([Cell(lambda: file_of("JPEG", 1024), "x")], side=64)
    assert decoded == [(128, 128)]


def test_errors_of_the_store_are_not_hidden() -> None:
    def unavailable() -> bytes:
        raise OSError("disk error")

    with pytest.raises(OSError, match="disk error"):
        contact_sheet([Cell(unavailable, "a")])
    with pytest.raises(InvalidInput):
        conversion._reduced(b"not an image", 64)
