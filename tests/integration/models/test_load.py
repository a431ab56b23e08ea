"""Models load as their stock pipelines do, offline, with the changes of their catalogue rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from core.catalogue import ModelPaths
from core.errors import RenderError
from tests.integration.models.conftest import Load, catalogue_row
from tests.integration.models.rendering import render
from worker.device import cpu_probe
from worker.device.cpu_probe import CpuSpeed
from worker.device.dtypes import dtype_name
from worker.memory import cpu_form
from worker.models.load import LoadRequest, load_pipeline
from worker.models.tiny_models import TINY_MODELS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize("model_id", [name for name in TINY_MODELS if name not in ("demo", "lcm-sd15")])
def test_a_loaded_pipeline_renders_as_the_stock_one(model_id: str, load: Load, tiny_models: dict[str, Path]) -> None:
    loaded = load(model_id)
    stock = DiffusionPipeline.from_pretrained(str(tiny_models[model_id]), dtype=loaded.dtype)
    stock.set_progress_bar_config(disable=True)
    if (chosen := catalogue_row(model_id).scheduler) is not None:
        stock.scheduler = getattr(diffusers, chosen.cls).from_config(stock.scheduler.config, **chosen.config)
    assert np.array_equal(render(loaded.pipeline), render(stock))


def test_the_demo_is_built_at_first_use_and_kept(load: Load, model_paths: ModelPaths) -> None:
    folder = model_paths.weights("demo")
    assert not folder.exists()
    load("demo")
    made = (folder / "imagefarm.json").read_bytes()
    assert load("demo").located.directory == folder
    assert (folder / "imagefarm.json").read_bytes() == made


def test_a_demo_of_an_older_build_is_rebuilt(load: Load, model_paths: ModelPaths) -> None:
    load("demo")
    marker = model_paths.weights("demo") / "imagefarm.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"revision": "0"}))
    assert load("demo").located.revision == "1"


@pytest.mark.parametrize(
    ("model_id", "dtype"), [("demo", torch.float32), ("z-image-turbo", torch.bfloat16), ("sd-turbo", torch.bfloat16)]
)
def test_the_dtype_suits_a_cpu(model_id: str, dtype: torch.dtype, load: Load) -> None:
    loaded = load(model_id)
    assert loaded.dtype == dtype
    weights = [
        p for part in loaded.pipeline.components.values() if isinstance(part, torch.nn.Module) for p in part.parameters()
    ]
    assert {parameter.dtype for parameter in weights} == {dtype}


@pytest.mark.parametrize(
    ("speed", "dtype"), [(CpuSpeed(20, 150, 120), torch.float32), (CpuSpeed(400, 156, 300), torch.bfloat16)]
)
def test_a_large_model_computes_in_what_the_cpu_does_fastest_and_says_how_long(
    speed: CpuSpeed,
    dtype: torch.dtype,
    model_paths: ModelPaths,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu_form, "MIN_PARAMETERS", 1)
    monkeypatch.setattr(cpu_probe, "measure", lambda: speed)
    folders = ModelPaths(model_paths.models_dir / dtype_name(dtype), dict(model_paths.folders))
    stages: list[str] = []
    loaded = load_pipeline(catalogue_row("sd-turbo"), LoadRequest(folders, "cpu"), lambda stage, _: stages.append(stage))
    assert loaded.dtype == dtype and loaded.plan.policy == "cpu"
    assert loaded.expected is not None and loaded.expected.figures()["num_inference_steps"] == 4
    said = next(index for index, stage in enumerate(stages) if stage.startswith("expected on this CPU for 512x512"))
    assert said < stages.index("reading"), "before it loads"


def test_z_image_is_never_fp16(load: Load) -> None:
    with pytest.raises(RenderError, match="z-image-turbo cannot compute in float16; it can in bfloat16, float32") as caught:
        load("z-image-turbo", dtype="float16")
    assert caught.value.code == "invalid_input"


def test_lcm_gets_its_scheduler_and_its_lora(load: Load, tiny_models: dict[str, Path]) -> None:
    loaded = load("lcm-sd15", dtype="float32")
    assert type(loaded.pipeline.scheduler).__name__ == "LCMScheduler"
    plain = DiffusionPipeline.from_pretrained(str(tiny_models["lcm-sd15"]), dtype=torch.float32)
    name = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    fused, bare = loaded.pipeline.unet.get_parameter(name), plain.unet.get_parameter(name)
    assert not torch.equal(fused, bare)
    file = loaded.located.loras[0]
    plain.load_lora_weights(str(file.parent), weight_name=file.name)
    layer = plain.unet.get_submodule(name.removesuffix(".weight"))
    assert torch.allclose(fused, bare + layer.get_delta_weight("default_0"), atol=1e-6)


def test_fused_loras_leave_no_adapter(load: Load) -> None:
    assert not any("lora" in name for name, _ in load("lcm-sd15").pipeline.unet.named_modules())


def test_sdxl_gets_no_watermark(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl"
    monkeypatch.setattr(f"{module}.is_invisible_watermark_available", lambda: True)
    assert load("sdxl-turbo").pipeline.watermark is None


def test_a_safety_checker_in_the_index_is_neither_needed_nor_loaded(tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_models["tiny-sd"], folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index["requires_safety_checker"] = True
    (folder / "model_index.json").write_text(json.dumps(index))
    model_paths = ModelPaths(tmp_path / "models", {"tiny-sd": folder}, tmp_path / "hub")
    loaded = load_pipeline(catalogue_row("tiny-sd"), LoadRequest(model_paths, "cpu"), lambda *_: None)
    assert loaded.pipeline.safety_checker is None


def test_files_of_a_single_variant_are_found(tmp_path: Path, load: Load, tiny_models: dict[str, Path]) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_models["sd-turbo"], folder)
    for name in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
        (folder / f"{name}.safetensors").rename(folder / f"{name}.fp16.safetensors")
    model_paths = ModelPaths(tmp_path / "models", {"sd-turbo": folder}, tmp_path / "hub")
    loaded = load_pipeline(catalogue_row("sd-turbo"), LoadRequest(model_paths, "cpu"), lambda *_: None)
    assert np.array_equal(render(loaded.pipeline), render(load("sd-turbo").pipeline))


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
def test_weights_that_lack_a_tensor_are_refused_with_its_name(
    part: str, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_models["sd-turbo"], folder)
    file = folder / f"{part}.safetensors"
    tensors = load_file(file)
    lost = sorted(tensors)[-1]
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, file, {"format": "pt"})
    model_paths = ModelPaths(tmp_path / "models", {"sd-turbo": folder}, tmp_path / "hub")
    with pytest.raises(RenderError) as caught:
        load_pipeline(catalogue_row("sd-turbo"), LoadRequest(model_paths, "cpu", dtype="float32"), lambda *_: None)
    assert caught.value.code == "model_unavailable"
    assert lost in caught.value.message
    assert str(file) in caught.value.message


def test_progress_is_reported_by_stage(model_paths: ModelPaths) -> None:
    events: list[tuple[str, float | None]] = []
    row = catalogue_row("z-image-turbo")
    loaded = load_pipeline(row, LoadRequest(model_paths, "cpu"), lambda stage, fraction: events.append((stage, fraction)))
    stages = list(dict.fromkeys(stage for stage, _ in events))
    assert stages == ["reading", "converting", "adapting", "placing", "done"]
    fractions = [fraction for stage, fraction in events if stage == "reading"]
    assert fractions == sorted(fractions, key=float)  # type: ignore[arg-type]
    assert fractions[-1] == 1.0
    assert loaded.load_seconds > 0
    assert loaded.versions["torch"] == torch.__version__


def test_the_error_for_missing_weights_names_the_command(tmp_path: Path) -> None:
    model_paths = ModelPaths(tmp_path / "models", {}, tmp_path / "hub")
    with pytest.raises(RenderError, match="imagefarm models pull z-image-turbo") as caught:
        load_pipeline(catalogue_row("z-image-turbo"), LoadRequest(model_paths, "cpu"), lambda *_: None)
    assert caught.value.code == "model_unavailable"


def test_a_plan_respects_the_memory_limit(model_paths: ModelPaths) -> None:
    row = catalogue_row("demo")
    all_free = load_pipeline(row, LoadRequest(model_paths, "cpu"), lambda *_: None).plan
    some = load_pipeline(row, LoadRequest(model_paths, "cpu", max_gigabytes=0.5), lambda *_: None).plan
    assert all_free.free_bytes > some.free_bytes == 500_000_000
    with pytest.raises(RenderError, match="does not fit on cpu") as caught:
        load_pipeline(row, LoadRequest(model_paths, "cpu", max_gigabytes=0.001), lambda *_: None)
    assert caught.value.code == "out_of_memory"


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "mps", "nonsense:x"])
def test_an_unknown_device_is_refused(device: str, model_paths: ModelPaths) -> None:
    with pytest.raises(RenderError) as caught:
        load_pipeline(catalogue_row("demo"), LoadRequest(model_paths, device), lambda *_: None)
    assert caught.value.code == "invalid_input"
