"""Resolution of `auto`, and the notice that random weights render noise."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.options import load_settings
from core.catalogue import resolve_auto
from core.catalogue.tensor_checks import folder_checks, keep_answer
from core.errors import InvalidInput
from core.settings import Settings
from tests.unit.models.diffusers_folder import write_model, write_safetensors


@pytest.fixture(autouse=True)
def empty_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide weights in the cache of the user who runs the tests."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def test_without_weights_auto_is_the_demo_with_an_explanation(tmp_path: Path) -> None:
    resolved = resolve_auto(Settings(data_dir=tmp_path))
    assert resolved.model.id == "demo"
    assert "noise" in resolved.explanation
    assert "imagefarm models pull z-image-turbo" in resolved.explanation


def test_with_weights_auto_is_turbo_without_an_explanation(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    resolved = resolve_auto(Settings(data_dir=tmp_path, model_folders={"z-image-turbo": folder}))
    assert (resolved.model.id, resolved.explanation) == ("z-image-turbo", "")


def test_an_incomplete_folder_does_not_count_as_weights(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert resolve_auto(Settings(data_dir=tmp_path, model_folders={"z-image-turbo": folder})).model.id == "demo"


def test_weights_that_are_known_to_lack_a_tensor_are_passed_over(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    settings = Settings(data_dir=tmp_path, model_folders={"z-image-turbo": folder})
    for check in folder_checks(folder, settings.resolved_models_dir):
        keep_answer(check.kept, ["norm.weight"] if check.folder.name == "vae" else [])
    resolved = resolve_auto(settings)
    assert resolved.model.id == "demo"
    assert "z-image-turbo cannot be loaded" in resolved.explanation
    assert "vae/diffusion_pytorch_model.safetensors lack the tensor norm.weight" in resolved.explanation
    write_safetensors(folder / "vae" / "diffusion_pytorch_model.safetensors", {"norm.weight": [8]})
    assert resolve_auto(settings).model.id == "z-image-turbo"


def test_a_named_model_is_used_as_it_is(tmp_path: Path) -> None:
    assert resolve_auto(Settings(data_dir=tmp_path, model="sd-turbo")).model.id == "sd-turbo"
    assert "noise" in resolve_auto(Settings(data_dir=tmp_path, model="demo")).explanation


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        resolve_auto(Settings(data_dir=tmp_path, model="dall-e"))


def test_named_folders_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFARM_MODEL_FOLDERS", '{"z-image-turbo": "weights/z"}')
    assert Settings().model_folders == {"z-image-turbo": Path.cwd() / "weights" / "z"}


def test_an_empty_value_means_no_named_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFARM_MODEL_FOLDERS", "")
    assert Settings().model_folders == {}


def test_folders_that_are_not_json_are_reported_as_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEFARM_MODEL_FOLDERS", "z-image-turbo=/weights")
    with pytest.raises(InvalidInput, match=r"IMAGEFARM_MODEL_FOLDERS is 'z-image-turbo=/weights': .*not JSON"):
        load_settings()
