"""An image folder holds each image once, also after crashes and with several processes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import FarmError, InvalidInput
from core.schemas.jobs import Output
from imagefarm.image_folder import INDEX_NAME, ImageFolder
from tests.servers.farm import ROOT, clean_environment

MADE_AT = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


def output(number: int, data: bytes) -> Output:
    urls = {"url": "", "content_url": "", "thumbnail_url": ""}
    sha256 = hashlib.sha256(data).hexdigest()
    return Output(
        id=f"image-{number}", index=0, seed=1, width=8, height=8, format="png", bytes=len(data), sha256=sha256, **urls
    )


def refuse() -> bytes:
    raise AssertionError("fetched again")


def image_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("outputs_*"))


def test_files_are_named_by_time_and_each_image_is_fetched_once(tmp_path: Path) -> None:
    first, second = output(1, b"one"), output(2, b"two")
    folder = ImageFolder(tmp_path)
    path = folder.save(first, MADE_AT, lambda: b"one").path
    assert path.name == f"outputs_{MADE_AT.astimezone():%Y%m%d%H%M%S}.png"
    assert folder.save(second, MADE_AT, lambda: b"two").path.stem.endswith("_01")
    for known in (folder, ImageFolder(tmp_path), ImageFolder(tmp_path, by_day=True)):
        assert known.save(first, MADE_AT, refuse).path == path
    assert len(image_files(tmp_path)) == 2


def test_a_deleted_image_is_saved_again_only_with_restore(tmp_path: Path) -> None:
    image = output(1, b"one")
    ImageFolder(tmp_path).save(image, MADE_AT, lambda: b"one").path.unlink()
    assert not ImageFolder(tmp_path).save(image, MADE_AT, refuse, restore=False).new
    assert image_files(tmp_path) == []
    assert ImageFolder(tmp_path).save(image, MADE_AT, lambda: b"one", restore=True).new
    assert len(image_files(tmp_path)) == 1


@pytest.mark.parametrize("index", [b"", b'{"image": "image-1", "fi'])
def test_a_file_missing_from_the_index_is_recognised_by_its_content(tmp_path: Path, index: bytes) -> None:
    image = output(1, b"one")
    path = ImageFolder(tmp_path).save(image, MADE_AT, lambda: b"one").path
    (tmp_path / INDEX_NAME).write_bytes(index)
    assert ImageFolder(tmp_path).save(image, MADE_AT, refuse).path == path
    assert ImageFolder(tmp_path).save(image, MADE_AT, refuse).path == path
    assert len(image_files(tmp_path)) == 1


def test_a_damaged_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FarmError, match="SHA-256") as caught:
        ImageFolder(tmp_path).save(output(1, b"one"), MADE_AT, lambda: b"0ne")
    assert caught.value.code == "image_damaged"
    assert image_files(tmp_path) == []


def test_an_unwritable_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="Could not save images"):
        ImageFolder(tmp_path / "file").save(output(1, b"one"), MADE_AT, refuse)


def test_two_processes_save_each_image_once(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from imagefarm import ImageFolder
from tests.unit.imagefarm.test_image_folder import MADE_AT, output
folder = ImageFolder(Path(sys.argv[1]))
for number in range(60):
    data = str(number).encode()
    folder.save(output(number, data), MADE_AT, lambda: data)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT, env=clean_environment()) for _ in range(2)]
    assert [process.wait(300) for process in processes] == [0, 0]
    assert sorted(path.read_bytes() for path in image_files(tmp_path)) == sorted(
        str(number).encode() for number in range(60)
    )
