"""Folders of upscalers, and results that killed processes left in the spool."""

from __future__ import annotations

import os
import time
from pathlib import Path

from core.catalogue.upscalers import list_upscalers
from core.settings import Settings
from worker.reaper.retention import ORPHAN_SECONDS, sweep_spool


def test_upscalers_are_found_below_the_models_and_in_weights_folders(tmp_path: Path) -> None:
    files = {"models/upscalers": "a", "comfy/models/upscale_models": "B c", "plain/upscale_models": "d", "plain/vae": "e"}
    for folder, name in files.items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{name}.pth").touch()
    settings = Settings(
        _env_file=None, models_dir=tmp_path / "models", weights_dirs=[tmp_path / "comfy", tmp_path / "plain"]
    )
    found = [row.id for row in list_upscalers(settings.upscaler_dirs) if row.origin == "file"]
    assert found == ["a", "b-c", "d"]


def test_files_that_nothing_writes_to_are_swept(tmp_path: Path) -> None:
    assert sweep_spool(tmp_path / "missing") == 0
    old, new = tmp_path / "a.1.png", tmp_path / "b.1.png"
    for file in (old, new):
        file.touch()
    long_ago = time.time() - ORPHAN_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    assert sweep_spool(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [new]
