"""The zip of images."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, datetime

from core.storage.archive import ImageArchive


def test_csv_holds_no_formulas() -> None:
    archive = ImageArchive(metadata="csv")
    row = {"id": "1", "index": 0, "input": {"prompt": "=1+1", "guidance_scale": -1.5}}
    data = archive.add(b"image", datetime(2026, 11, 28, tzinfo=UTC), "png", row) + b"".join(archive.finish())
    archive.close()
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        text = opened.read("metadata.csv").decode()
    (found,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (found["prompt"], found["guidance_scale"]) == ("'=1+1", "-1.5")
