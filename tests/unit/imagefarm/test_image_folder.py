"""An album gets each image once, whatever happens to whoever fills it."""

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

MOMENT = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


def output(number: int, data: bytes) -> Output:
    urls = {"url": "", "content_url": "", "thumbnail_url": ""}
    sha256 = hashlib.sha256(data).hexdigest()
    return Output(
        id=f"image-{number}", index=0, seed=1, width=8, height=8, format="png", bytes=len(data), sha256=sha256, **urls
    )


def never() -> bytes:
    raise AssertionError("fetched again")


def pictures(folder: Path) -> list[Path]:
    return sorted(folder.rglob("outputs_*"))


def test_names_are_of_the_moment_and_each_image_is_fetched_once(tmp_path: Path) -> None:
    first, second = output(1, b"one"), output(2, b"two")
    folder = ImageFolder(tmp_path)
    path = folder.save(first, MOMENT, lambda: b"one").path
    assert path.name == f"outputs_{MOMENT.astimezone():%Y%m%d%H%M%S}.png"
    assert folder.save(second, MOMENT, lambda: b"two").path.stem.endswith("_01")
    for known in (folder, ImageFolder(tmp_path), ImageFolder(tmp_path, by_day=True)):
        assert known.save(first, MOMENT, never).path == path
    assert len(pictures(tmp_path)) == 2


def test_what_was_deleted_stays_deleted_unless_it_is_wanted_back(tmp_path: Path) -> None:
    image = output(1, b"one")
    ImageFolder(tmp_path).save(image, MOMENT, lambda: b"one").path.unlink()
    assert not ImageFolder(tmp_path).save(image, MOMENT, never, restore=False).new
    assert pictures(tmp_path) == []
    assert ImageFolder(tmp_path).save(image, MOMENT, lambda: b"one", restore=True).new
    assert len(pictures(tmp_path)) == 1


@pytest.mark.parametrize("ledger", [b"", b'{"image": "image-1", "fi'])
def test_a_file_whose_line_was_lost_in_a_crash_is_known_by_its_content(tmp_path: Path, ledger: bytes) -> None:
    image = output(1, b"one")
    path = ImageFolder(tmp_path).save(image, MOMENT, lambda: b"one").path
    (tmp_path / INDEX_NAME).write_bytes(ledger)
    assert ImageFolder(tmp_path).save(image, MOMENT, never).path == path
    assert ImageFolder(tmp_path).save(image, MOMENT, never).path == path
    assert len(pictures(tmp_path)) == 1


def test_a_damaged_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FarmError, match="SHA-256") as caught:
        ImageFolder(tmp_path).save(output(1, b"one"), MOMENT, lambda: b"0ne")
    assert caught.value.code == "image_damaged"
    assert pictures(tmp_path) == []


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="Could not save pictures"):
        ImageFolder(tmp_path / "file").save(output(1, b"one"), MOMENT, never)


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from imagefarm.image_folder import Album
from tests.unit.imagefarm.test_image_folder import MOMENT, output
album = Album(Path(sys.argv[1]))
for number in range(60):
    data = str(number).encode()
    album.save(output(number, data), MOMENT, lambda: data)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, cwd=ROOT, env=clean_environment()) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert sorted(path.read_bytes() for path in pictures(tmp_path)) == sorted(str(number).encode() for number in range(60))
