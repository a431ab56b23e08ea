"""Folders like ComfyUI's are read in place: listed by purpose, matched into models, never written to."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.catalogue import catalogue_of
from core.catalogue.weight_dirs import FOLDERS, files_in, scan
from core.errors import InvalidInput
from core.settings import Settings
from tests.unit.models import weight_samples as samples
from tests.unit.models.comfy_folder import write_comfy


@pytest.fixture
def comfy(tmp_path: Path) -> Iterator[Path]:
    """Write the folder and take away every right to write to it."""
    root = write_comfy(tmp_path / "comfy")
    before = tree(root)
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield root
    for folder in folders:
        folder.chmod(0o755)
    assert tree(root) == before


def tree(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))}


def settings_for(tmp_path: Path, *roots: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", weights_dirs=list(roots))


def test_files_are_listed_by_purpose_with_sizes(comfy: Path, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, comfy)
    names = {folder: [file.path.name for file in files_in(settings, folder)] for folder in FOLDERS}
    assert names == {
        "diffusion_models": ["z_image_turbo_bf16.safetensors", "lonely.safetensors", "z_image_turbo-Q8_0.gguf"],
        "checkpoints": ["Dream Shaper_8.safetensors"],
        "text_encoders": ["qwen_3_4b.safetensors", "Qwen3-4B-Q6_K.gguf"],
        "vae": ["ae.safetensors"],
        "loras": ["broken.safetensors", "style.safetensors"],
        "upscale_models": ["x4.safetensors"],
    }
    broken, style = files_in(settings, "loras")
    assert (broken.kind, style.kind, style.architectures) == ("unknown", "lora", ("z-image",))
    assert "web page" in broken.sentence
    assert style.size_bytes == (comfy / "loras" / "style.safetensors").stat().st_size


def test_files_become_models_where_text_encoder_and_vae_are_found(comfy: Path, tmp_path: Path) -> None:
    found = scan(settings_for(tmp_path, comfy))
    rows = {model.row.id: model.row for model in found.models}
    assert set(rows) == {"z-image-turbo-bf16", "z-image-turbo-q8-0", "dream-shaper-8"}
    bf16, packed, dream = rows["z-image-turbo-bf16"], rows["z-image-turbo-q8-0"], rows["dream-shaper-8"]
    assert bf16.files["text_encoder"].name == "qwen_3_4b.safetensors"
    assert packed.files["text_encoder"].name == "Qwen3-4B-Q6_K.gguf"
    assert {path.name for path in dream.files.values()} == {"Dream Shaper_8.safetensors"}
    assert (packed.defaults.num_inference_steps, dream.defaults.num_inference_steps) == (8, 25)
    lonely = next(each for each in found.unmatched if each.file.path.name == "lonely.safetensors")
    assert "Stable Diffusion 2's UNet" in lonely.reason
    assert "a text encoder" in lonely.reason
    assert "a VAE" in lonely.reason


def test_the_catalogue_has_them_and_other_rows_keep_their_names(comfy: Path, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, comfy)
    catalogue = catalogue_of(settings)
    assert catalogue.get("dream-shaper-8").title == "Dream Shaper_8"
    assert catalogue.source_of("dream-shaper-8") == "found"
    assert catalogue.source_of("sd15") == "shipped"
    assert not (tmp_path / "data").exists()


def test_equal_names_get_different_stable_ids(tmp_path: Path) -> None:
    for place in ("a", "b"):
        samples.write_safetensors(tmp_path / "w" / "checkpoints" / place / "x.safetensors", samples.checkpoint("sd15"))
    samples.write_safetensors(tmp_path / "w" / "checkpoints" / "SDXL.safetensors", samples.checkpoint("sdxl"))
    first, second, third = (model.row.id for model in scan(settings_for(tmp_path, tmp_path / "w")).models)
    assert first.startswith("sdxl-")
    assert second == "x"
    assert third.startswith("x-")
    assert [model.row.id for model in scan(settings_for(tmp_path, tmp_path / "w")).models] == [first, second, third]


def test_comfyui_itself_may_be_named(tmp_path: Path) -> None:
    write_comfy(tmp_path / "ComfyUI" / "models")
    assert len(scan(settings_for(tmp_path, tmp_path / "ComfyUI")).models) == 3


def test_wrong_folders_are_reported_and_listed_with_unknown_models(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    settings = settings_for(tmp_path, tmp_path / "none", tmp_path / "empty")
    problems = catalogue_of(settings).problems
    assert "which is not a folder" in problems[0]
    assert "diffusion_models/" in problems[1]
    with pytest.raises(InvalidInput, match="which is not a folder"):
        catalogue_of(settings).get("mine")


def test_links_that_form_a_circle_are_followed_once(tmp_path: Path) -> None:
    root = write_comfy(tmp_path / "w")
    (root / "loras" / "again").symlink_to(root / "loras", target_is_directory=True)
    (root / "vae" / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    assert [file.path.name for file in files_in(settings_for(tmp_path, root), "loras")] == [
        "broken.safetensors",
        "style.safetensors",
    ]
    assert len(files_in(settings_for(tmp_path, root), "vae")) == 1


def test_new_removed_and_replaced_files_are_seen(tmp_path: Path) -> None:
    root = write_comfy(tmp_path / "w")
    settings = settings_for(tmp_path, root)
    file = samples.write_safetensors(root / "checkpoints" / "new.safetensors", samples.checkpoint("sdxl"))
    assert catalogue_of(settings, fresh=True).get("new").architecture == "sdxl"
    samples.write_safetensors(file, samples.checkpoint("sd21"))
    os.utime(file, ns=(1, 1))
    assert catalogue_of(settings, fresh=True).get("new").architecture == "sd21"
    file.unlink()
    with pytest.raises(InvalidInput):
        catalogue_of(settings, fresh=True).get("new")


def test_a_thread_finds_new_files_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_comfy(tmp_path / "w")
    settings = settings_for(tmp_path, root)
    before = catalogue_of(settings)
    samples.write_safetensors(root / "checkpoints" / "new.safetensors", samples.checkpoint("sdxl"))
    assert catalogue_of(settings) is before
    monkeypatch.setattr("core.catalogue.farm_catalogue.RESCAN_SECONDS", 0.0)
    assert catalogue_of(settings) is before
    for thread in threading.enumerate():
        if thread.name == "weights folders":
            thread.join()
    assert "new" in [model.id for model in catalogue_of(settings)]


def test_the_setting_takes_paths_and_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for text in (f"{tmp_path}/a{os.pathsep}{tmp_path}/b", f'["{tmp_path}/a", "{tmp_path}/b"]'):
        monkeypatch.setenv("IMAGEFARM_WEIGHTS_DIRS", text)
        assert Settings().weights_dirs == [tmp_path / "a", tmp_path / "b"]
