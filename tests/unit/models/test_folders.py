"""A folder is complete or absent, even when writers are killed or race."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.catalogue.model_folder import read_marker
from worker.models.folders import Contents, atomic_folder, remove_drafts

CONTENTS = Contents("demo", "built", "here", "float32", "1")


def test_the_marker_describes_the_contents(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "weights", CONTENTS) as draft:
        (draft / "a").write_bytes(bytes(10))
    marker = read_marker(tmp_path / "weights")
    assert marker is not None
    assert (marker.model, marker.dtype, marker.revision, marker.size_bytes) == ("demo", "float32", "1", 10)
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_failure_keeps_the_previous_folder(tmp_path: Path) -> None:
    final = tmp_path / "weights"
    with atomic_folder(final, CONTENTS) as draft:
        (draft / "old").touch()
    with pytest.raises(RuntimeError), atomic_folder(final, CONTENTS) as draft:
        (draft / "new").touch()
        raise RuntimeError
    assert (final / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_a_new_copy_replaces_the_old(tmp_path: Path) -> None:
    final = tmp_path / "weights"
    for name in ("old", "new"):
        with atomic_folder(final, CONTENTS) as draft:
            (draft / name).touch()
    assert sorted(path.name for path in final.iterdir()) == ["imagefarm.json", "new"]


def test_concurrent_builders_leave_one_complete_folder(tmp_path: Path) -> None:
    final = tmp_path / "weights"
    barrier = threading.Barrier(4)

    def build() -> None:
        with atomic_folder(final, CONTENTS) as draft:
            (draft / "a").write_bytes(bytes(10))
            barrier.wait(120)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_marker(final) is not None
    assert (final / "a").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_abandoned_drafts_are_removed(tmp_path: Path) -> None:
    abandoned, young = tmp_path / ".weights.1.part", tmp_path / ".weights.2.part"
    for folder in (abandoned, young):
        folder.mkdir()
    os.utime(abandoned, (0, 0))
    with atomic_folder(tmp_path / "weights", CONTENTS) as draft:
        os.utime(draft, (0, 0))
        assert remove_drafts(tmp_path) == [abandoned]
    assert young.exists()


def test_the_draft_of_a_killed_process_is_removed_at_once(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tests.unit.models.test_folders import CONTENTS, atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1]), CONTENTS) as draft:\n"
        "    (draft / 'half').touch(); os.utime(draft, (0, 0)); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "weights")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        maker.stdout.readline()
        assert remove_drafts(tmp_path) == []
        maker.kill()
    assert len(remove_drafts(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_draft_is_locked_even_if_another_process_held_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def open_late(path: Path, flags: int) -> int:
        """Let another process hold the lock for a moment."""
        monkeypatch.setattr("worker.models.folders.os.open", opened)
        other = opened(path, flags)
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Timer(0.2, os.close, [other]).start()
        return opened(path, flags)

    monkeypatch.setattr("worker.models.folders.os.open", open_late)
    with atomic_folder(tmp_path / "weights", CONTENTS) as draft:
        os.utime(draft, (0, 0))
        time.sleep(0.3)
        assert remove_drafts(tmp_path) == []


@pytest.mark.parametrize(("age", "removed"), [(3600.0, False), (100_000.0, True)])
def test_without_lock_support_drafts_stay_for_a_day(
    age: float, removed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("worker.models.folders.fcntl.flock", refuse)
    folder = tmp_path / ".weights.1.part"
    folder.mkdir()
    os.utime(folder, (time.time() - age,) * 2)
    assert bool(remove_drafts(tmp_path)) == removed
