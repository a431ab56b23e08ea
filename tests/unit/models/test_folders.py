"""A folder is whole or not there, whoever dies or races."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from core.catalogue.marker import read_marker
from worker.models.folders import Contents, remove_drafts, whole_folder

CONTENTS = Contents("demo", "built", "here", "float32", "1")


def test_the_marker_tells_what_is_inside(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "weights", CONTENTS) as draft:
        (draft / "a").write_bytes(bytes(10))
    marker = read_marker(tmp_path / "weights")
    assert marker is not None
    assert (marker.model, marker.dtype, marker.revision, marker.size_bytes) == ("demo", "float32", "1", 10)
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    final = tmp_path / "weights"
    with whole_folder(final, CONTENTS) as draft:
        (draft / "old").touch()
    with pytest.raises(RuntimeError), whole_folder(final, CONTENTS) as draft:
        (draft / "new").touch()
        raise RuntimeError
    assert (final / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_new_copy_replaces_the_old(tmp_path: Path) -> None:
    final = tmp_path / "weights"
    for name in ("old", "new"):
        with whole_folder(final, CONTENTS) as draft:
            (draft / name).touch()
    assert sorted(path.name for path in final.iterdir()) == ["imagefarm.json", "new"]


def test_two_builders_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    final = tmp_path / "weights"
    together = threading.Barrier(4)

    def build() -> None:
        with whole_folder(final, CONTENTS) as draft:
            (draft / "a").write_bytes(bytes(10))
            together.wait(10)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_marker(final) is not None
    assert (final / "a").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_only_old_drafts_are_removed(tmp_path: Path) -> None:
    old, young = tmp_path / ".weights.1.part", tmp_path / ".weights.2.part"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (0, 0))
    assert remove_drafts(tmp_path) == [old]
    assert young.exists()
