"""Weights are located in every supported place, and the error for missing ones names the pull command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.catalogue import ModelPaths, is_present, load_catalogue, locate
from core.catalogue.model_folder import Marker, missing_files, write_marker
from core.errors import RenderError
from tests.unit.models.diffusers_folder import write_hub_snapshot, write_model, write_safetensors

TURBO = load_catalogue().get("z-image-turbo")


@pytest.fixture
def model_paths(tmp_path: Path) -> ModelPaths:
    """Return empty paths."""
    return ModelPaths(tmp_path / "models", {}, tmp_path / "hub")


def mark(directory: Path, revision: str = "r1") -> None:
    """Write a valid marker."""
    marker = Marker(model=TURBO.id, origin="hub", source="x", revision=revision, dtype="bfloat16", size_bytes=1, made_at=0.0)
    write_marker(directory, marker)


def test_the_error_for_missing_weights_names_the_command(model_paths: ModelPaths) -> None:
    with pytest.raises(RenderError, match="imagefarm models pull z-image-turbo") as caught:
        locate(TURBO, model_paths)
    assert caught.value.code == "model_unavailable"
    assert not is_present(TURBO, model_paths)


def test_the_models_directory_comes_first(model_paths: ModelPaths) -> None:
    own = write_model(model_paths.weights(TURBO.id))
    mark(own)
    folder = write_model(model_paths.models_dir.parent / "mine")
    found = locate(TURBO, ModelPaths(model_paths.models_dir, {TURBO.id: folder}, model_paths.hub_cache))
    assert (found.directory, found.origin, found.revision) == (own, "models_dir", "r1")


def test_a_copy_without_its_marker_is_not_used(model_paths: ModelPaths) -> None:
    write_model(model_paths.weights(TURBO.id))
    assert not is_present(TURBO, model_paths)


def test_a_marker_of_another_format_is_not_trusted(model_paths: ModelPaths) -> None:
    own = write_model(model_paths.weights(TURBO.id))
    mark(own)
    file = own / "imagefarm.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    assert not is_present(TURBO, model_paths)


def test_a_named_folder_is_used(model_paths: ModelPaths, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    assert locate(TURBO, ModelPaths(model_paths.models_dir, {TURBO.id: folder}, model_paths.hub_cache)).origin == "folder"


def test_the_hub_cache_is_used(model_paths: ModelPaths) -> None:
    snapshot = write_hub_snapshot(model_paths.hub_cache, TURBO.weights.repo)
    write_model(snapshot)
    found = locate(TURBO, model_paths)
    assert (found.directory, found.origin, found.revision) == (snapshot, "hub_cache", "abc123")


def test_an_interrupted_hub_download_is_recognised(model_paths: ModelPaths) -> None:
    snapshot = write_hub_snapshot(model_paths.hub_cache, TURBO.weights.repo)
    write_model(snapshot)
    (snapshot / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(RenderError, match="transformer has no weight files"):
        locate(TURBO, model_paths)


def test_a_folder_of_another_pipeline_is_refused(model_paths: ModelPaths, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", pipeline="FluxPipeline")
    with pytest.raises(RenderError, match="holds a FluxPipeline, but z-image-turbo is a ZImagePipeline"):
        locate(TURBO, ModelPaths(model_paths.models_dir, {TURBO.id: folder}, model_paths.hub_cache))


def test_a_missing_lora_counts_as_missing_weights(model_paths: ModelPaths, tmp_path: Path) -> None:
    lcm = load_catalogue().get("lcm-sd15")
    folder = write_model(tmp_path / "mine", pipeline=lcm.pipeline)
    with_folder = ModelPaths(model_paths.models_dir, {lcm.id: folder}, model_paths.hub_cache)
    with pytest.raises(RenderError, match="the LoRA latent-consistency/lcm-lora-sdv1-5 is missing"):
        locate(lcm, with_folder)
    lora = write_hub_snapshot(model_paths.hub_cache, lcm.loras[0].repo) / lcm.loras[0].weight_name
    write_safetensors(lora, {"a": [1, 1]})
    assert locate(lcm, with_folder).loras == (lora,)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    first = "diffusion_pytorch_model-00001-of-00002.safetensors"
    second = "diffusion_pytorch_model-00002-of-00002.safetensors"
    write_safetensors(folder / "vae" / first, {"a": [1]})
    index = {"weight_map": {"a": first, "b": second}}
    (folder / "vae" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    assert missing_files(folder) == [f"{folder} is incomplete: vae/{second} is missing (1 in all)"]
    write_safetensors(folder / "vae" / second, {"b": [1]})
    assert missing_files(folder) == []


def test_the_hub_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert ModelPaths(tmp_path).hub_cache == tmp_path / "xdg" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert ModelPaths(tmp_path).hub_cache == tmp_path / "home" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert ModelPaths(tmp_path).hub_cache == tmp_path / "cache"
