"""Unpacking of the shipped configurations and tokenizers."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from core.catalogue import load_catalogue
from core.catalogue.catalogue import Architecture
from core.catalogue.configs import config_folder
from core.catalogue.configs.folder import TOKENIZERS, digest
from core.catalogue.model_folder import components, pipeline_class
from core.errors import InvalidInput
from tests.servers.farm import ROOT

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
UNPACK = "import sys; from pathlib import Path; from core.catalogue.configs import config_folder;"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_a_complete_folder(architecture: Architecture, tmp_path: Path) -> None:
    folder = config_folder(architecture, tmp_path)
    assert folder == tmp_path / ".configs" / f"{architecture}-{digest(architecture)}"
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    assert set(TOKENIZERS[architecture]) == {name for name in index if name.startswith("tokenizer")}
    for name in components(folder):
        assert json.loads((folder / name / "config.json").read_text(encoding="utf-8"))
    assert (folder / "scheduler" / "scheduler_config.json").is_file()
    assert not [name for name in contents(folder) if name.endswith((".xz", ".part"))]


def test_the_pipelines_are_those_of_the_catalogue(tmp_path: Path) -> None:
    for model in load_catalogue():
        if model.architecture and model.pipeline != "auto":
            assert pipeline_class(config_folder(model.architecture, tmp_path)) == model.pipeline


def test_a_folder_is_written_once_and_completed_when_files_are_missing(tmp_path: Path) -> None:
    folder = config_folder("sdxl", tmp_path)
    whole = contents(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert config_folder("sdxl", tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == times
    (folder / "tokenizer_2" / "vocab.json").unlink()
    (folder / "unet" / "config.json").unlink()
    left = folder / "unet" / ".config.json.x.part"
    left.write_text("{")
    os.utime(left, (0, time.time() - 7200))
    config_folder("sdxl", tmp_path)
    assert contents(folder) == whole


def test_processes_at_once_and_a_killed_one_leave_a_complete_folder(tmp_path: Path) -> None:
    killed = (
        UNPACK + "import os; replace = Path.replace; written = [];"
        "Path.replace = lambda self, to: (written.append(to), len(written) > 3 and os._exit(9), replace(self, to));"
        "config_folder('z-image', Path(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(tmp_path)], cwd=ROOT, check=False).returncode == 9
    whole = UNPACK + "print(config_folder('z-image', Path(sys.argv[1])))"
    command = [sys.executable, "-c", whole, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    folders = {process.communicate(timeout=300)[0].strip() for process in running}
    (folder,) = folders
    found = {name: data for name, data in contents(Path(folder)).items() if not name.endswith(".part")}
    assert found == contents(config_folder("z-image", tmp_path / "other"))


def test_a_models_directory_that_cannot_be_written_is_named_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with caplog.at_level(logging.WARNING):
        folder = config_folder("sd15", file / "models")
    assert contents(folder) == contents(config_folder("sd15", tmp_path / "models"))
    assert not folder.is_relative_to(tmp_path)
    assert folder.parent.stat().st_mode & 0o077 == 0
    assert f"configurations of sd15 are kept in {folder}: {file}/models" in caplog.text
    assert config_folder("sd15", file / "models") == folder


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="There are no configurations for 'sd3'"):
        config_folder("sd3", tmp_path)  # type: ignore[arg-type]


def test_the_shipped_files_are_small_and_their_licences_named() -> None:
    data = ROOT / "core" / "catalogue" / "configs" / "data"
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) < 5_000_000
    rows = re.findall(r"^\| (`[^|]+) \|.*\| ([^|]+) \|$", (data / "NOTICE.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = {folder for cell, licence in rows if licence for folder in re.findall(r"`([^`]+)/`", cell)}
    folders = {str(path.parent.relative_to(data)) for path in data.rglob("*") if path.is_file() and path.parent != data}
    assert {name if name.startswith("tokenizers") else name.split("/")[0] for name in folders} == named
