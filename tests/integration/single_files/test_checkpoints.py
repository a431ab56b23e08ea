"""Stable Diffusion 1, 2 and XL in checkpoints and in split files equal the folder's model to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import RenderError
from tests.integration.models.rendering import render
from tests.integration.single_files.conftest import Loader, Model, Models, assert_same_weights, save
from tests.integration.single_files.original_names import Tensors, below, clip, ldm_unet, ldm_vae, open_clip
from worker.models.single_files.prediction import SD2_MARK, VELOCITY_DEVIATION, prediction_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
IDS = {"sd15": "tiny-sd", "sd21": "sd-turbo", "sdxl": "sdxl-turbo"}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
ONE_TEXT_ENCODER = ("unet", "text_encoder", "vae")
COMPONENTS = {
    "sd15": ONE_TEXT_ENCODER,
    "sd21": ONE_TEXT_ENCODER,
    "sdxl": ("unet", "text_encoder", "text_encoder_2", "vae"),
}
UNRELATED = {"alphas_cumprod": torch.ones(1000), "model_ema.decay": torch.tensor(0.99)}
"""Tensors of the original training code in published checkpoints."""


def model_of(models: Models, version: str) -> Model:
    """Return the tiny model; rows of single files name their architecture."""
    model = models(IDS[version])
    row = model.base.model_copy(update={"architecture": version, "loras": ()})
    return Model(row, model.folder, model.configs)


def checkpoint(model: Model, version: str, dtype: torch.dtype | None = None) -> Tensors:
    """Return the tensors of a published checkpoint of that version."""
    unet = below("model.diffusion_model.", ldm_unet(model.state("unet", dtype), layers_per_block=1))
    vae = below("first_stage_model.", ldm_vae(model.state("vae", dtype)))
    text = model.state("text_encoder", dtype)
    encoders = {
        "sd15": lambda: below("cond_stage_model.transformer.", clip(text)),
        "sd21": lambda: below("cond_stage_model.model.", open_clip(text, extra_layer=True)),
        "sdxl": lambda: (
            below("conditioner.embedders.0.transformer.", clip(text))
            | below("conditioner.embedders.1.model.", open_clip(model.state("text_encoder_2", dtype)))
        ),
    }
    return unet | vae | encoders[version]() | UNRELATED


@pytest.mark.parametrize(
    ("version", "stored_in", "loaded_in"),
    [
        ("sd15", "float32", "float32"),
        ("sd21", "bfloat16", "float32"),
        ("sdxl", "float16", "bfloat16"),
    ],
)
def test_checkpoints_equal_the_folder(
    version: str,
    stored_in: str,
    loaded_in: str,
    models: Models,
    loader: Loader,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = model_of(models, version)
    file = save(tmp_path / "model.safetensors", checkpoint(model, version, DTYPES[stored_in]))
    found = loader.files(model, dict.fromkeys(COMPONENTS[version], file), loaded_in)
    rounded = model.rounded(DTYPES[stored_in])
    expected = loader.folder(rounded, loaded_in)
    assert_same_weights(found, expected)
    if loaded_in == "float32":
        assert np.array_equal(render(found.pipeline), loader.image(rounded, loaded_in))
    assert found.pipeline.scheduler.config == expected.pipeline.scheduler.config
    assert "does not use" not in caplog.text


def _split(model: Model) -> dict[str, Tensors]:
    """Return ComfyUI's split files of SDXL: UNet, CLIP-L and CLIP-G in transformers' names, VAE without a prefix."""
    return {
        "unet": ldm_unet(model.state("unet"), layers_per_block=1),
        "text_encoder": clip(model.state("text_encoder")) | {"text_projection.weight": torch.ones(2, 2)},
        "text_encoder_2": model.state("text_encoder_2") | {"logit_scale": torch.tensor(4.6)},
        "vae": ldm_vae(model.state("vae")),
    }


@pytest.mark.parametrize("text_encoders", ["transformers", "open_clip", "old"])
def test_split_files_equal_the_folder(text_encoders: str, models: Models, loader: Loader, tmp_path: Path) -> None:
    model = model_of(models, "sdxl")
    parts = _split(model)
    if text_encoders == "open_clip":
        parts["text_encoder_2"] = open_clip(model.state("text_encoder_2"))
    elif text_encoders == "old":
        names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        vae = model.state("vae")
        for new, old in names.items():
            vae = {name.replace(f"attentions.0.{new}", f"attentions.0.{old}"): each for name, each in vae.items()}
        parts["vae"] = vae
        parts["unet"] = model.state("unet")
    files = {name: save(tmp_path / f"{name}.safetensors", tensors) for name, tensors in parts.items()}
    # The recogniser tells CLIP-G from CLIP-L by its width, which the tiny model does not have.
    found = loader.files(model, files, "float32", recognised=False)
    assert_same_weights(found, loader.folder(model, "float32"))


def test_a_vae_of_its_own_replaces_the_checkpoints(models: Models, loader: Loader, tmp_path: Path) -> None:
    model = model_of(models, "sd15")
    stored = checkpoint(model, "sd15")
    stored |= {name: -each for name, each in stored.items() if name.startswith("first_stage_model.")}
    file = save(tmp_path / "model.safetensors", stored)
    vae = save(tmp_path / "vae-ft-mse.safetensors", ldm_vae(model.state("vae")) | {"loss.logvar": torch.zeros(1)})
    files = {**dict.fromkeys(ONE_TEXT_ENCODER, file), "vae": vae}
    assert_same_weights(loader.files(model, files, "float32"), loader.folder(model, "float32"))


@pytest.mark.parametrize("version", IDS)
def test_each_missing_tensor_is_an_error(version: str, models: Models, loader: Loader, tmp_path: Path) -> None:
    model = model_of(models, version)
    stored = checkpoint(model, version)
    ends = ("out_layers.3.weight", "emb_layers.1.bias", "ln_final.bias", "final_layer_norm.bias", "quant_conv.weight")
    for end in ends:
        lost = next((name for name in sorted(stored) if name.endswith(end)), None)
        if lost is None:
            continue
        file = save(tmp_path / "model.safetensors", {name: each for name, each in stored.items() if name != lost})
        with pytest.raises(RenderError, match="lacks the tensor") as caught:
            loader.files(model, dict.fromkeys(COMPONENTS[version], file), "float32", recognised=False)
        assert caught.value.code == "model_unavailable"


def test_a_checkpoint_of_another_version_is_refused(models: Models, loader: Loader, tmp_path: Path) -> None:
    other, model = model_of(models, "sd15"), model_of(models, "sdxl")
    file = save(tmp_path / "model.safetensors", checkpoint(other, "sd15"))
    with pytest.raises(RenderError) as caught:
        loader.files(model, dict.fromkeys(COMPONENTS["sdxl"], file), "float32", recognised=False)
    assert caught.value.code == "model_unavailable"
    assert str(file) in caught.value.message


def test_a_pickled_checkpoint_equals_the_folder(models: Models, loader: Loader, tmp_path: Path) -> None:
    model = model_of(models, "sd15")
    torch.save({"state_dict": checkpoint(model, "sd15"), "global_step": 7}, tmp_path / "model.ckpt")
    files = dict.fromkeys(ONE_TEXT_ENCODER, tmp_path / "model.ckpt")
    found, expected = loader.files(model, files, "float32", recognised=False), loader.folder(model, "float32")
    assert_same_weights(found, expected)
    assert str(tmp_path / "model.ckpt") in Path("/proc/self/maps").read_text(encoding="utf-8")


class Payload:
    """An object that runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_more_than_weights_is_refused(zipped: bool, models: Models, loader: Loader, tmp_path: Path) -> None:
    model = model_of(models, "sd15")
    content = {"state_dict": checkpoint(model, "sd15"), "callbacks": Payload(tmp_path / "ran")}
    torch.save(content, tmp_path / "model.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(RenderError, match="pickles can run programs") as caught:
        loader.files(model, dict.fromkeys(ONE_TEXT_ENCODER, tmp_path / "model.ckpt"), "float32", recognised=False)
    assert caught.value.code == "model_unavailable"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\noid", b"<!doctype html>", b"PK\x03\x04 cut"]
)
def test_a_damaged_file_is_named(content: bytes, models: Models, loader: Loader, tmp_path: Path) -> None:
    model = model_of(models, "sd15")
    file = save(tmp_path / "model.safetensors", checkpoint(model, "sd15"))
    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(content)
    with pytest.raises(RenderError, match=r"bad\.ckpt") as caught:
        loader.files(model, {**dict.fromkeys(ONE_TEXT_ENCODER, file), "vae": bad}, "float32", recognised=False)
    assert caught.value.code == "model_unavailable"


@pytest.mark.parametrize(
    ("extra", "metadata", "expected"),
    [
        ({}, {}, {}),
        ({"v_pred": torch.zeros(0)}, {}, {"prediction_type": "v_prediction"}),
        (
            {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)},
            {},
            {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        ),
        ({}, {"modelspec.predict_key": "v"}, {"prediction_type": "v_prediction"}),
        ({}, {"modelspec.prediction_type": "epsilon"}, {"prediction_type": "epsilon"}),
    ],
)
def test_velocity_prediction_is_found_by_its_marks(
    extra: Tensors, metadata: dict[str, str], expected: dict[str, object], tmp_path: Path
) -> None:
    assert (
        prediction_of(save(tmp_path / "model.safetensors", {"conv_in.weight": torch.ones(1), **extra}, metadata)) == expected
    )


@pytest.mark.parametrize(("deviation", "expected"), [(0.5, "epsilon"), (2.0, "v_prediction")])
def test_stable_diffusion_2_is_told_by_one_bias(deviation: float, expected: str, tmp_path: Path) -> None:
    prefix = "model.diffusion_model."
    bias = torch.tensor([-1.0, 1.0]) * deviation * VELOCITY_DEVIATION
    context = {f"{prefix}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": torch.ones(1, 1024)}
    file = save(tmp_path / "model.safetensors", {f"{prefix}{SD2_MARK}": bias, **context})
    assert prediction_of(file) == {"prediction_type": expected}


def test_a_velocity_model_gets_its_scheduler(models: Models, loader: Loader, tmp_path: Path) -> None:
    model = model_of(models, "sdxl")
    file = save(tmp_path / "model.safetensors", checkpoint(model, "sdxl") | {"v_pred": torch.zeros(1)})
    loaded = loader.files(model, dict.fromkeys(COMPONENTS["sdxl"], file), "float32")
    assert loaded.pipeline.scheduler.config.prediction_type == "v_prediction"
    assert loader.folder(model, "float32").pipeline.scheduler.config.prediction_type == "epsilon"
