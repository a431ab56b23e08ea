"""The local store on a real file system: complete files or none, and clear errors."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import NotFound, RenderError, Unavailable
from core.ids import new_id
from core.storage import LocalImageStore, image_key, local
from core.storage.local import MalformedKey


@pytest.fixture
def store(tmp_path: Path) -> LocalImageStore:
    return LocalImageStore(tmp_path / "images")


@pytest.fixture
def key() -> str:
    return image_key(new_id(), 1, 0)


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_a_stored_file_is_read_back(store: LocalImageStore, key: str) -> None:
    stored = store.put(key, b"content")
    assert (stored.key, stored.bytes, stored.sha256) == (key, 7, hashlib.sha256(b"content").hexdigest())
    assert store.read(key) == b"content"
    assert store.path(key).read_bytes() == b"content"
    assert files_under(store.root) == [store.path(key)]


def test_a_second_put_replaces_the_first(store: LocalImageStore, key: str) -> None:
    store.put(key, b"first")
    store.put(key, b"second")
    assert store.read(key) == b"second"
    assert len(files_under(store.root)) == 1


def test_delete_removes_file_and_empty_folders(store: LocalImageStore, key: str) -> None:
    store.put(key, b"x")
    assert store.delete(key) is True
    assert store.delete(key) is False
    assert list(store.root.iterdir()) == []


def test_a_missing_file_is_not_found(store: LocalImageStore, key: str) -> None:
    with pytest.raises(NotFound) as caught:
        store.read(key)
    assert caught.value.code == "image_file_missing"


@pytest.mark.parametrize("bad", ["../secret", "/etc/passwd", "", "2025-11-19/ab/x.png"])
def test_every_method_refuses_a_malformed_key(store: LocalImageStore, bad: str) -> None:
    for method in (store.read, store.path, store.delete, lambda key: store.put(key, b"x")):
        with pytest.raises(MalformedKey):
            method(bad)


def test_keys_are_listed_by_age_and_other_files_skipped(store: LocalImageStore) -> None:
    old, new = image_key(new_id(), 1, 0), image_key(new_id(), 1, 0)
    store.put(old, b"old")
    store.put(new, b"new")
    age(store.path(old), 100)
    (store.root / "notes.txt").write_text("mine")
    assert set(store.iter_keys()) == {old, new}
    assert list(store.iter_keys(older_than_seconds=50)) == [old]


def test_a_file_where_a_folder_should_be_is_reported(tmp_path: Path, key: str) -> None:
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(RenderError, match="a file stands where a folder should be") as caught:
        LocalImageStore(tmp_path / "images").put(key, b"x")
    assert caught.value.code == "storage_unavailable"


def test_a_check_of_the_store_writes_and_leaves_nothing(store: LocalImageStore) -> None:
    store.check_writable()
    assert list(store.root.iterdir()) == []


def test_a_check_of_a_store_that_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(RenderError, match="a file stands where a folder should be") as caught:
        LocalImageStore(tmp_path / "images").check_writable()
    assert caught.value.code == "storage_unavailable"


def test_reading_a_folder_is_unavailable(store: LocalImageStore, key: str) -> None:
    store.path(key).mkdir(parents=True)
    with pytest.raises(Unavailable) as caught:
        store.read(key)
    assert caught.value.code == "storage_unavailable"


def test_a_failed_rename_leaves_nothing(store: LocalImageStore, key: str) -> None:
    (store.path(key) / "occupied").mkdir(parents=True)
    with pytest.raises(RenderError):
        store.put(key, b"x")
    assert files_under(store.root) == []


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from core.errors import RenderError
from core.storage import LocalImageStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    LocalImageStore(Path(sys.argv[1])).put(sys.argv[2], bytes(100_000))
except RenderError as error:
    print(error.code)
"""


def test_a_disk_that_accepts_only_part_of_a_file_keeps_no_part(store: LocalImageStore, key: str) -> None:
    """Use a file size limit, which makes the kernel refuse in the middle of a file like a full disk."""
    command = [sys.executable, "-c", _FULL_DISK, str(store.root), key]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "storage_unavailable"
    assert files_under(store.root) == []


_KILLED = """
import os, signal, sys
from pathlib import Path
from core.storage import LocalImageStore
os.replace = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
store = LocalImageStore(Path(sys.argv[1]))
store.path(sys.argv[2]).parent.mkdir(parents=True)
store.put(sys.argv[2], b"half")
"""


def test_a_killed_writer_leaves_no_key_and_its_partial_file_is_swept(store: LocalImageStore, key: str) -> None:
    command = [sys.executable, "-c", _KILLED, str(store.root), key]
    assert subprocess.run(command, check=False).returncode == -9
    assert list(store.iter_keys()) == []
    [rest] = files_under(store.root)
    assert store.sweep_partial(older_than_seconds=60) == 0
    age(rest, 100)
    assert store.sweep_partial(older_than_seconds=60) == 1
    assert files_under(store.root) == []


def test_file_and_folder_are_durable_after_a_put(store: LocalImageStore, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    store.put(key, b"x")
    path = store.path(key)
    assert sorted(synced) == [store.root.parent, store.root, path.parent.parent, path.parent, path]
    synced.clear()
    store.put(other := key.replace(".png", ".jpg"), b"in the same folder")
    assert sorted(synced) == [path.parent, store.path(other)]


def test_a_folder_that_another_process_has_just_made_is_synced(
    store: LocalImageStore, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.path(key).parent.mkdir(parents=True)
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    store.put(key, b"x")
    assert store.path(key).parent.parent in synced and store.root.parent in synced


def test_a_file_stays_until_the_one_that_replaces_it_is_durable(
    store: LocalImageStore, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(key, b"old")
    content: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: content.append(store.read(key)))
    store.put(key, b"new")
    assert content == [b"old", b"new"]


def test_a_new_folder_is_synced_again_if_that_failed(
    store: LocalImageStore, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RenderError):
        store.put(key, b"x")
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    store.put(key, b"x")
    assert store.path(key).parent.parent in synced


@pytest.mark.parametrize("failing", ["file", "folder"])
def test_what_cannot_be_made_durable_leaves_no_file(
    store: LocalImageStore, key: str, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    store.path(key).parent.mkdir(parents=True)

    def fail(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir() == (failing == "folder"):
            raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RenderError) as raised:
        store.put(key, b"x")
    assert raised.value.code == "storage_unavailable"
    assert files_under(store.root) == []


def test_a_folder_that_a_concurrent_delete_removes_is_created_again(
    store: LocalImageStore, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def make_and_lose_once(root: Path, folder: Path) -> Sequence[Path]:
        above = make_folders(root, folder)
        if not folders:
            folder.rmdir()
        folders.append(folder)
        return above

    make_folders = local._make_folders
    monkeypatch.setattr(local, "_make_folders", make_and_lose_once)
    store.put(key, b"x")
    assert store.read(key) == b"x"
    assert len(folders) == 2


_UNWRITABLE = """
import os, sys
from pathlib import Path
from core.errors import RenderError
from core.storage import LocalImageStore
root = Path(sys.argv[1])
root.mkdir(mode=0o500)
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    LocalImageStore(root).put(sys.argv[2], b"x")
except RenderError as error:
    print(error.code, error.message)
"""


def test_an_unwritable_directory_is_reported(store: LocalImageStore, key: str) -> None:
    command = [sys.executable, "-c", _UNWRITABLE, str(store.root), key]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("storage_unavailable")
    assert "write permission" in done.stdout


def test_blocks_are_stored_as_one_file(store: LocalImageStore, key: str) -> None:
    stored = store.put_blocks(key, iter([b"con", b"tent"]))
    assert (stored.bytes, stored.sha256) == (7, hashlib.sha256(b"content").hexdigest())
    assert store.read(key) == b"content"


def test_blocks_that_cannot_be_read_leave_no_file(store: LocalImageStore, key: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"con")
    with pytest.raises(RenderError, match="did not accept"):
        store.put_blocks(key, (path.read_bytes() for path in [tmp_path / "there", tmp_path / "missing"]))
    assert files_under(store.root) == []


def test_a_reduced_copy_stands_for_the_file_and_is_deleted_with_it(store: LocalImageStore, key: str) -> None:
    store.put(key, b"content")
    assert store.read_reduced(key) == b"content"
    store.put_reduced(key, b"small")
    assert (store.read_reduced(key), store.read(key), list(store.iter_keys())) == (b"small", b"content", [key])
    assert store.delete(key)
    assert files_under(store.root) == []
