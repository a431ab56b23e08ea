"""The systemd units start commands that exist, with settings that exist; systemd checks them where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from cli.main import app
from core.settings import Settings
from tests.servers.farm import ROOT

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
PROGRAM = "/srv/imagefarm/.venv/bin/imagefarm"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_command_of_each_unit_exists(unit: Path) -> None:
    found = re.search(rf"^ExecStart={re.escape(PROGRAM)} (.+)$", unit.read_text(), re.MULTILINE)
    assert found is not None
    command = get_command(app)
    for word in found[1].split():
        if word.startswith("-"):
            break
        command = command.commands[word]  # type: ignore[attr-defined]


def test_every_variable_is_a_setting() -> None:
    known = {f"IMAGEFARM_{name.upper()}" for name in Settings.model_fields}
    for file in [*UNITS, FOLDER / "imagefarm.env.example"]:
        assert set(re.findall(r"IMAGEFARM_[A-Z_]+", file.read_text())) <= known


def test_workers_have_more_time_to_stop_than_they_drain() -> None:
    drain = int(re.findall(r"IMAGEFARM_DRAIN_SECONDS=(\d+)", (FOLDER / "imagefarm.env.example").read_text())[0])
    for name in ("imagefarm-worker@.service", "imagefarm-upscaler.service"):
        assert int(re.findall(r"TimeoutStopSec=(\d+)", (FOLDER / name).read_text())[0]) >= drain + 10


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed: the units were not verified")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """Check copies, with a program and a user that exist here."""
    for unit in FOLDER.glob("imagefarm*.*"):
        text = unit.read_text().replace(PROGRAM, "/bin/true")
        (tmp_path / unit.name.replace("@.", "@0.")).write_text(re.sub(r"(?m)^(User|Group)=.*$", r"\1=root", text))
    units = [str(path) for path in sorted(tmp_path.glob("*")) if path.suffix in (".service", ".target")]
    assert len(units) == len(UNITS) + 1
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
