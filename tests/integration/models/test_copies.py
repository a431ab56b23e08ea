"""What a first load will write is known beforehand, and doctor says when the disk lacks room for it."""

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
def test_what_is_foretold_is_written_once(
    policy: str, load: Load, model_paths: ModelPaths, tiny_models: dict[str, Path]
) -> None:
    tier = tier_named(policy)
    assert tier is not None
    copies = CopiesToMake(tiny_models[MODEL], MODEL, tier, torch.bfloat16, model_paths)
    sizes = read_sizes(tiny_models[MODEL], catalogue_row(MODEL))
    foretold = copies.size(sizes)
    load(MODEL, policy)
    written = sum(file.stat().st_size for file in model_paths.models_dir.rglob("*.safetensors"))
    assert written > 0
    assert bool(list(model_paths.models_dir.rglob(PACKED_FILE))) == (policy == "cpu-int8")
    assert foretold == pytest.approx(written, rel=0.1)  # Headers, and scales that weigh more in small matrices.
    assert copies.size(sizes) == 0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a worker that is to load a twin in 8 bits."""
    folder = build_tiny_model(MODEL, tmp_path / "twin")
    folders = {MODEL: folder}
    return Settings(data_dir=tmp_path / "data", model=MODEL, model_folders=folders, device="cpu", memory_policy="cpu-int8")


def test_doctor_tells_of_copies_to_come(settings: Settings) -> None:
    check = doctor.check_copies(settings)
    assert check.status == "ok"
    assert "GB will be written" in check.detail


def test_doctor_warns_of_a_disk_that_is_too_small(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_bytes", lambda folder: 1000)
    check = doctor.check_copies(settings)
    assert check.status == "warning"
    assert "IMAGEFARM_MODELS_DIR" in check.advice


def test_doctor_has_nothing_to_say_of_models_that_are_not_here(tmp_path: Path) -> None:
    check = doctor.check_copies(Settings(data_dir=tmp_path, model="demo", device="cpu"))
    assert (check.status, check.advice) == ("ok", "")
