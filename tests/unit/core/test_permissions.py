"""A data directory is closed to other users, and only to the extent that it is the farm's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.permissions import keep_private
from core.settings import Settings


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Let files be readable for all, and restore this process's umask afterwards."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data directory as a farm without this protection wrote it, with a file that is not the farm's."""
    data = tmp_path / "data"
    for name in ("imagefarm.db", "imagefarm.db-wal", "images/2026-11-28/ab/x.png", "logs/api.log", "redis/port", "mine.txt"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("x")
    return data


def test_an_open_directory_is_closed_with_one_line(data: Path) -> None:
    line = keep_private(Settings(_env_file=None, data_dir=data))
    assert line is not None and "mode 0700" in line and "IMAGEFARM_DATA_DIR_SHARED" in line
    assert mode(data) == 0o700
    files = [path for path in data.rglob("*") if path.name != "mine.txt"]
    assert {mode(path) for path in files if path.is_file()} == {0o600}
    assert {mode(path) for path in files if path.is_dir()} == {0o700}
    assert mode(data / "mine.txt") == 0o644, "a file that is not the farm's was changed"
    assert keep_private(Settings(_env_file=None, data_dir=data)) is None, "a closed directory is not mentioned again"


def test_new_files_are_for_the_user_alone(tmp_path: Path) -> None:
    assert keep_private(Settings(_env_file=None, data_dir=tmp_path / "new")) is None
    (tmp_path / "file").write_text("x")
    assert mode(tmp_path / "file") == 0o600


def test_a_shared_directory_is_left_alone(data: Path) -> None:
    assert keep_private(Settings(_env_file=None, data_dir=data, data_dir_shared=True)) is None
    assert (mode(data), mode(data / "imagefarm.db")) == (0o755, 0o644)
    (data / "new").write_text("x")
    assert mode(data / "new") == 0o644


def test_a_directory_like_tmp_keeps_its_own_mode(data: Path) -> None:
    data.chmod(0o1777)
    line = keep_private(Settings(_env_file=None, data_dir=data))
    assert line is not None and "all users share" in line
    assert data.stat().st_mode & 0o7777 == 0o1777
    assert mode(data / "imagefarm.db") == 0o600


def test_links_out_of_the_directory_are_not_followed(data: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    (data / "images" / "link").symlink_to(outside / "file")
    (data / "uploads").symlink_to(outside)
    keep_private(Settings(_env_file=None, data_dir=data))
    assert (mode(outside), mode(outside / "file")) == (0o755, 0o644)
