"""Results of `models list` and `doctor`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.catalogue import ModelPaths
from core.settings import Settings
from worker.models import doctor
from worker.models.status import list_models
from worker.models.tiny_models import build_tiny_model


@pytest.fixture(autouse=True)
def empty_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide weights in the cache of the user who runs the tests."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def test_the_list_shows_which_models_are_present(tmp_path: Path) -> None:
    folder = build_tiny_model("z-image-turbo", tmp_path / "mine")
    rows = {row.model.id: row for row in list_models(ModelPaths(tmp_path, {"z-image-turbo": folder}, tmp_path / "hub"))}
    assert rows["demo"].here
    assert (rows["z-image-turbo"].origin, rows["z-image-turbo"].directory) == ("folder", folder)
    assert rows["z-image-turbo"].size_bytes > 0
    assert not rows["sd-turbo"].here
    assert "imagefarm models pull sd-turbo" in rows["sd-turbo"].missing


def test_list_and_pull_load_no_torch() -> None:
    code = (
        "import sys, worker.models.status, worker.models.pull, worker.models.doctor, worker.models.demo;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_weights_are_a_problem(tmp_path: Path) -> None:
    check = doctor.check_weights(Settings(data_dir=tmp_path, model="sd-turbo"))
    assert check.status == "problem"
    assert "imagefarm models pull sd-turbo" in check.advice
    assert doctor.check_weights(Settings(data_dir=tmp_path)).status == "warning"
    assert doctor.check_weights(Settings(data_dir=tmp_path, model="dall-e")).status == "problem"


def test_present_weights_are_ok(tmp_path: Path) -> None:
    folder = build_tiny_model("z-image-turbo", tmp_path / "mine")
    check = doctor.check_weights(Settings(data_dir=tmp_path, model_folders={"z-image-turbo": folder}))
    assert (check.status, check.advice) == ("ok", "")


def test_a_broken_torchvision_is_detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_torchvision().status == "ok"
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    info = tmp_path / "torchvision-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = doctor.check_torchvision()
    assert check.status == "problem"
    assert "pip uninstall torchvision" in check.advice


def test_doctor_runs_every_check(tmp_path: Path) -> None:
    names = [check.name for check in doctor.run_checks(Settings(data_dir=tmp_path))]
    checks = ["python", "libraries", "torchvision", "devices", "disk", "weights", "memory", "cpu", "copies", "safety"]
    assert sorted(names) == sorted(checks)


def test_the_tier_is_planned_without_weights(tmp_path: Path) -> None:
    check = doctor.check_tier(Settings(data_dir=tmp_path, model="sd-turbo", device="cpu"))
    assert check.status == "ok"
    assert "memory policy cpu" in check.detail
