"""The documentation of image files names every field of the metadata."""

from __future__ import annotations

import re
from pathlib import Path

from core.imagefile import ImageMetadata

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "image-files.md"


def test_every_field_is_documented_and_no_other() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("### `imagefarm`")[2].partition("### `parameters`")[0]
    named = {name for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == set(ImageMetadata.model_fields)
