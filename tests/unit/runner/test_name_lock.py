"""Names are unique on one machine, and a restarted worker knows which processes it replaces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.settings import Settings
from db.workers import NameInUse
from worker.runner.name_lock import NameLock, lock_names


def first(settings: Settings) -> NameLock:
    return next(lock_names(settings))


def test_unnamed_workers_get_different_names_and_keep_them_after_a_restart(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu")
    one, two = first(settings), first(settings)
    assert two.identity.name == f"{one.identity.name}-2"
    one.release()
    again = first(settings)
    assert again.identity.name == one.identity.name
    assert again.predecessors == {one.identity.incarnation}
    again.release()
    two.release()


def test_a_given_name_is_refused_while_it_is_locked(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, worker_name="w")
    lock = first(settings)
    with pytest.raises(NameInUse, match="A live worker is named 'w'"):
        first(settings)
    lock.release()
    first(settings).release()


def test_processes_before_a_reboot_are_not_known_to_be_dead(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, worker_name="w")
    first(settings).release()
    file = tmp_path / "workers" / "w.lock"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"boot": "another"}))
    lock = first(settings)
    assert lock.predecessors == frozenset()
    lock.release()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"incarnations": 3}'])
def test_a_damaged_lock_file_names_no_predecessor(tmp_path: Path, content: str) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "w.lock").write_text(content)
    lock = first(Settings(data_dir=tmp_path, worker_name="w"))
    assert lock.predecessors == frozenset()
    lock.release()


def test_without_a_data_directory_the_heartbeat_alone_decides(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(data_dir=tmp_path / "file", worker_name="w")
    assert first(settings).file is None
    assert first(settings).predecessors == frozenset()
