"""Names of exported files: the documented pattern, and no overwriting."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.storage import export_file, link_file
from core.storage.local import MalformedKey

MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
STEM = f"outputs_{MOMENT.astimezone():%Y%m%d%H%M%S}"


def test_flat_names_get_a_number_on_collision(tmp_path: Path) -> None:
    names = [export_file(tmp_path / "new" / "outputs", bytes([n]), MOMENT).name for n in range(3)]
    assert names == [f"{STEM}.png", f"{STEM}_01.png", f"{STEM}_02.png"]
    assert (tmp_path / "new" / "outputs" / f"{STEM}_01.png").read_bytes() == b"\x01"


def test_by_day_makes_a_folder_for_the_day(tmp_path: Path) -> None:
    path = export_file(tmp_path, b"x", MOMENT, extension="webp", by_day=True)
    assert path == tmp_path / MOMENT.astimezone().date().isoformat() / f"{STEM}.webp"


def _export(job: tuple[Path, int]) -> str:
    return export_file(job[0], b"%d" % job[1], MOMENT).name


def test_processes_never_share_a_name(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        names = list(pool.map(_export, [(tmp_path, n) for n in range(120)]))
    assert len(set(names)) == 120
    assert {(tmp_path / name).read_bytes() for name in names} == {b"%d" % n for n in range(120)}


def test_a_name_appears_only_with_the_complete_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def link(source: Path, target: Path) -> None:
        sizes.append(source.stat().st_size)
        assert list(tmp_path.glob("outputs_*")) == []
        source.rename(target)

    monkeypatch.setattr(os, "link", link)
    export_file(tmp_path, b"whole", MOMENT)
    assert sizes == [5]
    assert [path.name for path in tmp_path.iterdir()] == [f"{STEM}.png"]


def test_file_systems_without_links_are_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    names = [export_file(tmp_path, bytes([n]), MOMENT).name for n in range(2)]
    assert names == [f"{STEM}.png", f"{STEM}_01.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("in the way")
    with pytest.raises(InvalidInput, match="Could not save") as caught:
        export_file(tmp_path / "outputs", b"x", MOMENT)
    assert (caught.value.code, caught.value.field) == ("export_failed", "directory")


def test_only_image_extensions(tmp_path: Path) -> None:
    with pytest.raises(MalformedKey):
        export_file(tmp_path, b"x", MOMENT, extension="png/../../x")


def test_a_link_shares_the_file_and_never_overwrites(tmp_path: Path) -> None:
    source = tmp_path / "stored.png"
    source.write_bytes(b"pixels")
    paths = [link_file(tmp_path / "out", source, MOMENT) for _ in range(2)]
    assert [path.name for path in paths] == [f"{STEM}.png", f"{STEM}_01.png"]
    assert {path.stat().st_ino for path in paths} == {source.stat().st_ino}


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EPERM])
def test_a_file_is_copied_where_it_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int) -> None:
    source, link = tmp_path / "stored.png", os.link
    source.write_bytes(b"pixels")

    def refuse(first: Path, second: Path) -> None:
        if reason == errno.EPERM or first == source:
            raise OSError(reason, os.strerror(reason))
        link(first, second)

    monkeypatch.setattr(os, "link", refuse)
    paths = [link_file(tmp_path / "out", source, MOMENT, by_day=True) for _ in range(2)]
    source.unlink()
    assert [path.read_bytes() for path in paths] == [b"pixels", b"pixels"]
    assert {path.name for path in paths[0].parent.iterdir()} == {f"{STEM}.png", f"{STEM}_01.png"}


def test_a_full_disk_leaves_no_partial_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "stored.png"
    source.write_bytes(b"pixels")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def unlinkable(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", unlinkable)
    monkeypatch.setattr("core.storage.export.copyfile", full)
    with pytest.raises(OSError, match="No space"):
        link_file(tmp_path / "out", source, MOMENT)
    assert list((tmp_path / "out").iterdir()) == []
