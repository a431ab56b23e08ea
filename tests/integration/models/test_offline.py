"""A load opens no connection, whatever the environment says about the hub, and refuses components that lack weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from core.catalogue import ModelPaths, resolve_auto
from core.catalogue.auto_check import ensure_auto_checked
from core.errors import RenderError
from core.settings import Settings
from tests.servers.farm import ROOT
from worker.models.components import check_tensors, load_component
from worker.models.missing_tensors import missing_tensors
from worker.models.status import model_status

LOAD = """
import json, socket, sys
from pathlib import Path

def refused(*_, **__):
    raise SystemExit("a load opened a connection")

import torch
for name in ("getaddrinfo", "create_connection"):
    setattr(socket, name, refused)
socket.socket.connect = socket.socket.connect_ex = refused
from core.catalogue import ModelPaths, load_catalogue
from worker.models.load import LoadRequest, load_pipeline

folders = {name: Path(folder) for name, folder in json.loads(sys.argv[1]).items()}
paths = ModelPaths(Path(sys.argv[2]), folders, Path(sys.argv[2]) / "hub")
for name in folders:
    for policy in ("auto", "cpu-int8") if name == "z-image-turbo" else ("auto",):
        load_pipeline(load_catalogue().get(name), LoadRequest(paths, "cpu", policy), lambda *_: None)
        print(name, policy)
"""


def test_no_load_opens_a_connection(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    folders = json.dumps({name: str(folder) for name, folder in tiny_models.items() if name != "demo"})
    command = [sys.executable, "-W", "ignore", "-c", LOAD, folders, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == set(tiny_models) - {"demo"}


@pytest.mark.parametrize(
    ("model_id", "part", "library", "cls"),
    [
        ("z-image-turbo", "text_encoder/model", "transformers", "Qwen3Model"),
        ("z-image-turbo", "transformer/diffusion_pytorch_model", "diffusers", "ZImageTransformer2DModel"),
        ("sdxl-turbo", "text_encoder_2/model", "transformers", "CLIPTextModelWithProjection"),
        ("sdxl-turbo", "vae/diffusion_pytorch_model", "diffusers", "AutoencoderKL"),
        ("flux2-klein-4b", "text_encoder/model", "transformers", "Qwen3ForCausalLM"),
    ],
)
def test_a_missing_tensor_is_named_by_load_pull_and_list(
    model_id: str, part: str, library: str, cls: str, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    import torch

    folder = tmp_path / "mine"
    shutil.copytree(tiny_models[model_id], folder)
    model_paths = ModelPaths(tmp_path / "models", {model_id: folder}, tmp_path / "hub")
    assert missing_tensors(folder, model_paths.models_dir) == []
    file = folder / f"{part}.safetensors"
    tensors = load_file(file)
    lost = sorted(tensors)[len(tensors) // 2]
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, file, {"format": "pt"})
    with pytest.raises(RenderError) as of_load:
        load_component(file.parent, library, cls, torch.float32)
    with pytest.raises(RenderError) as of_pull:
        check_tensors(folder, None)
    (of_list,) = missing_tensors(folder, model_paths.models_dir)
    assert f"The weights in {file} lack the tensor " in of_load.value.message
    assert lost in of_load.value.message
    assert of_pull.value.message == of_load.value.message
    assert of_list == f"{folder} is damaged: {of_load.value.message}"


def test_what_files_lack_is_found_once_and_then_read_without_torch(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    folder, models_dir = tmp_path / "mine", tmp_path / "models"
    shutil.copytree(tiny_models["sd-turbo"], folder)
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    lost = tensors.popitem()[0]
    save_file(tensors, file, {"format": "pt"})
    (problem,) = missing_tensors(folder, models_dir)
    assert lost in problem
    code = (
        "import sys; from pathlib import Path; from worker.models.missing_tensors import missing_tensors;"
        "print(*missing_tensors(Path(sys.argv[1]), Path(sys.argv[2]))); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder), str(models_dir)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, problem)


def test_tensors_under_the_names_of_earlier_versions_are_no_problem(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_models["lcm-sd15"], folder)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    earlier = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in load_file(file).items():
        for new, old in earlier.items():
            name = name.replace(f"attentions.0.{new}", f"attentions.0.{old}")  # noqa: PLW2901
        renamed[name] = tensor
    assert any(".query." in name for name in renamed)
    save_file(renamed, file, {"format": "pt"})
    assert missing_tensors(folder, tmp_path / "models") == []


def test_list_and_doctor_show_what_a_load_would_refuse(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    from tests.integration.models.conftest import catalogue_row
    from worker.models.doctor import check_weights

    folder = tmp_path / "mine"
    shutil.copytree(tiny_models["sd-turbo"], folder)
    settings = Settings(data_dir=tmp_path, model="sd-turbo", model_folders={"sd-turbo": folder})
    assert model_status(catalogue_row("sd-turbo"), ModelPaths.of(settings)).here
    assert check_weights(settings).status == "ok"
    file = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    tensors.popitem()
    save_file(tensors, file, {"format": "pt"})
    status = model_status(catalogue_row("sd-turbo"), ModelPaths.of(settings))
    assert not status.here
    assert "lack the tensor" in status.problems[0]
    check = check_weights(settings)
    assert check.status == "problem"
    assert str(file) in check.advice


def test_auto_looks_once_and_passes_over_what_lacks_a_tensor(
    tmp_path: Path, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_models["z-image-turbo"], folder)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    lost = tensors.popitem()[0]
    save_file(tensors, file, {"format": "pt"})
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("IMAGEFARM_MODEL_FOLDERS", json.dumps({"z-image-turbo": str(folder)}))
    settings = Settings(data_dir=tmp_path / "data")
    told: list[str] = []
    assert resolve_auto(settings).model.id == "z-image-turbo"
    ensure_auto_checked(settings, told.append)
    resolved = resolve_auto(settings)
    assert resolved.model.id == "demo"
    assert f"lack the tensor {lost}" in resolved.explanation
    ensure_auto_checked(settings, told.append)
    assert told == ["looking for missing tensors in the weights of z-image-turbo, once"]
