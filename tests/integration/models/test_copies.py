"""The bytes that a first load will write are predicted, and doctor warns when the disk has too little space."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.catalogue import ModelPaths
from core.settings import Settings
from tests.integration.models.conftest import Load, catalogue_row
from worker.memory.sizes import read_sizes
from worker.memory.tiers import tier_named
from worker.models import doctor
from worker.models.packed_copy import PACKED_FILE
from worker.models.tier_reader import CopiesToMake
from worker.models.tiny_models import build_tiny_model

MODEL = "z-image-turbo"


@pytest.mark.parametrize("policy", ["cpu", "cpu-int8"])
def test_predicted_copies_are_written_once(
    policy: str, load: Load, model_paths: ModelPaths, tiny_models: dict[str, Path]
) -> None:
    tier = tier_named(policy)
    assert tier is not None
    copies = CopiesToMake(tiny_models[MODEL], MODEL, tier, torch.bfloat16, model_paths)
    sizes = read_sizes(tiny_models[MODEL], catalogue_row(MODEL))
    predicted = copies.size(sizes)
    load(MODEL, policy)
    written = sum(file.stat().st_size for file in model_paths.models_dir.rglob("*.safetensors"))
    assert written > 0
    assert bool(list(model_paths.models_dir.rglob(PACKED_FILE))) == (policy == "cpu-int8")
    assert predicted == pytest.approx(written, rel=0.1)  # Headers, and scales, which weigh more in small matrices.
    assert copies.size(sizes) == 0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings of a worker that is to load a tiny model in 8 bits."""
    folder = build_tiny_model(MODEL, tmp_path / "tiny-model")
    folders = {MODEL: folder}
    return Settings(data_dir=tmp_path / "data", model=MODEL, model_folders=folders, device="cpu", memory_policy="cpu-int8")


def test_doctor_reports_copies_to_be_written(settings: Settings) -> None:
    check = doctor.check_copies(settings)
    assert check.status == "ok"
    assert "GB will be written" in check.detail


def test_doctor_warns_about_a_small_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_bytes", lambda folder: 1000)
    check = doctor.check_copies(settings)
    assert check.status == "warning"
    assert "IMAGEFARM_MODELS_DIR" in check.advice


def test_doctor_reports_no_copies_for_missing_models(tmp_path: Path) -> None:
    check = doctor.check_copies(Settings(data_dir=tmp_path, model="demo", device="cpu"))
    assert (check.status, check.advice) == ("ok", "")
