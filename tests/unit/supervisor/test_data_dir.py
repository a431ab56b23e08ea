"""The data directory and its lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor import data_dir
from supervisor.startup_checks import AlreadyRunning, DataDirUnusable


def test_a_second_start_names_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    with data_dir.lock(tmp_path) as first:
        with pytest.raises(AlreadyRunning, match="still starting"), data_dir.lock(tmp_path):
            pass
        first.note(api="http://127.0.0.1:1234")
        with pytest.raises(AlreadyRunning, match=r"at http://127\.0\.0\.1:1234"), data_dir.lock(tmp_path):
            pass
    with data_dir.lock(tmp_path):
        pass


def test_a_damaged_lock_file_still_refuses_a_second_start(tmp_path: Path) -> None:
    with data_dir.lock(tmp_path):
        (tmp_path / data_dir.LOCK_NAME).write_text("{half")
        with pytest.raises(AlreadyRunning, match="another process"), data_dir.lock(tmp_path):
            pass


def test_prepare_creates_the_subdirectories_and_may_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        data_dir.prepare(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "logs").is_dir()


def test_a_file_at_the_path_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataDirUnusable, match="--data-dir"):
        data_dir.prepare(tmp_path / "data")
