"""A migration copies what is missing, notices damage, can be interrupted and repeated, and deletes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from core.errors import NotFound
from core.ids import new_id
from core.storage import LocalImageStore, image_key
from core.storage_url import FileLocation, parse_storage_url
from storage.migrate import migrate
from storage.stores import open_part
from tests.servers.s3 import S3Server


def filled(root: Path, count: int = 4) -> dict[str, bytes]:
    files = {image_key(new_id(), 1, index): f"image {index}".encode() for index in range(count)}
    store = LocalImageStore(root / "images")
    for key, data in files.items():
        store.put(key, data)
    store.put_reduced(min(files), b"reduced")
    LocalImageStore(root / "uploads").put(image_key(new_id(), 0, 0), b"an upload")
    return files


def test_a_folder_moves_to_a_bucket_and_back(s3: S3Server, tmp_path: Path) -> None:
    files = filled(tmp_path / "old")
    bucket = parse_storage_url(s3.url("moved"))
    moved = migrate(FileLocation(tmp_path / "old"), bucket)
    assert (moved.copied, moved.present, moved.failed) == (5, 0, {})
    store = open_part(bucket, "images")
    assert {key: store.read(key) for key in store.iter_keys()} == files
    assert store.read_reduced(min(files)) == b"reduced"

    again = migrate(FileLocation(tmp_path / "old"), bucket)
    assert (again.copied, again.present) == (0, 5)

    back = migrate(bucket, FileLocation(tmp_path / "new"))
    assert (back.copied, back.failed) == (5, {})
    assert LocalImageStore(tmp_path / "new" / "images").read_reduced(min(files)) == b"reduced"


def test_what_differs_is_copied_again_and_an_outage_is_resumed(s3: S3Server, tmp_path: Path) -> None:
    files = filled(tmp_path / "old")
    url = s3.url("resumed")
    damaged = open_part(parse_storage_url(url), "images")
    damaged.put(min(files), b"imagE 0")
    s3.refuse = lambda request: request.startswith("PUT") and request.endswith(max(files))
    command = ["storage", "migrate", f"file://{tmp_path / 'old'}", url, "--json"]

    result = CliRunner().invoke(app, command, standalone_mode=False)
    report = json.loads(result.stdout)
    assert result.return_value == 1
    assert (report["copied"], list(report["failed"])) == (4, [f"images/{max(files)}"])

    s3.refuse = lambda request: False
    result = CliRunner().invoke(app, command, standalone_mode=False)
    assert result.return_value == 0
    assert json.loads(result.stdout)["copied"] == 1
    assert {key: damaged.read(key) for key in damaged.iter_keys()} == files


def test_a_folder_that_is_no_farms_is_refused_and_an_empty_bucket_named(
    s3: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotFound, match="neither a folder images nor uploads"):
        migrate(FileLocation(tmp_path / "mistyped"), FileLocation(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    words = ["storage", "migrate", s3.url("mistyped"), f"file://{tmp_path / 'new'}"]
    assert app(words, standalone_mode=False) == 0
    assert "holds no images and no uploads" in capsys.readouterr().err


@pytest.mark.parametrize("places", [("file:///a", "file:///a"), ("/srv", "file:///a"), ("file:///a", "s3://UPPER")])
def test_wrong_places_are_refused(places: tuple[str, str]) -> None:
    result = CliRunner().invoke(app, ["storage", "migrate", *places])
    assert getattr(result.exception, "code", None) == "invalid_input"
