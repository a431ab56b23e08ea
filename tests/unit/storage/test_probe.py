"""A folder is tried by writing a file, of which nothing stays."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

import pytest

from core.storage.probe import probe_folder


def test_folder_that_takes_files_is_left_as_it_was(tmp_path: Path) -> None:
    probe_folder(tmp_path)
    probe_folder(tmp_path / "not" / "there" / "yet")
    assert list(tmp_path.iterdir()) == []


def test_bytes_are_written_not_only_a_name(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # a name fits, 4 KB do not: as on a full disk
    try:
        with pytest.raises(OSError) as caught:
            probe_folder(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
