"""The data directory and its lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import data_dir
from supervisor.startup_checks import AlreadyRunning, DataDirUnusable


def test_second_owner_learns_who_is_first(tmp_path: Path) -> None:
    with data_dir.lock(tmp_path) as first:
        with pytest.raises(AlreadyRunning, match="still starting"), data_dir.lock(tmp_path):
            pass
        first.note(api="http://127.0.0.1:1234")
        with pytest.raises(AlreadyRunning, match=r"at http://127\.0\.0\.1:1234"), data_dir.lock(tmp_path):
            pass
    with data_dir.lock(tmp_path):
        pass


def test_a_damaged_note_still_refuses(tmp_path: Path) -> None:
    with data_dir.lock(tmp_path):
        (tmp_path / data_dir.LOCK_NAME).write_text("{half")
        with pytest.raises(AlreadyRunning, match="another process"), data_dir.lock(tmp_path):
            pass


def test_prepare_makes_rooms_and_is_repeatable(tmp_path: Path) -> None:
    for _ in range(2):
        data_dir.prepare(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "logs").is_dir()


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataDirUnusable, match="--data-dir"):
        data_dir.prepare(tmp_path / "data")
