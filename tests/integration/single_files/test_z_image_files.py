"""Z-Image in ComfyUI's split files and in checkpoints of one file equals the folder's model to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import RenderError
from tests.integration.models.rendering import render
from tests.integration.single_files.conftest import Loader, Model, Models, assert_same_weights, save
from tests.integration.single_files.original_names import Tensors, below, ldm_vae, z_image_transformer
from worker.models.missing_tensors import unusable_files

MODEL = "z-image-turbo"
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@pytest.fixture(scope="module")
def model(models: Models) -> Model:
    """Return the tiny Z-Image."""
    return models(MODEL)


def split_files(model: Model, folder: Path, dtype: torch.dtype | None = None, prefix: str = "") -> dict[str, Path]:
    """Write the three files of ComfyUI's example."""
    transformer = below(prefix, z_image_transformer(model.state("transformer", dtype)))
    text = below("model.", model.state("text_encoder", dtype))
    return {
        "transformer": save(folder / "diffusion_models" / "z_image_turbo_bf16.safetensors", transformer),
        "text_encoder": save(folder / "text_encoders" / "qwen_3_4b.safetensors", text),
        "vae": save(folder / "vae" / "ae.safetensors", ldm_vae(model.state("vae", dtype))),
    }


def all_in_one(model: Model) -> Tensors:
    """Return the tensors of ComfyUI's checkpoint of one file."""
    return (
        below("model.diffusion_model.", z_image_transformer(model.state("transformer")))
        | below("text_encoders.qwen3_4b.transformer.model.", model.state("text_encoder"))
        | below("vae.", ldm_vae(model.state("vae")))
    )


@pytest.mark.parametrize("loaded_in", ["bfloat16", "float32"])
@pytest.mark.parametrize("stored_in", DTYPES)
def test_split_files_equal_the_folder(
    stored_in: str, loaded_in: str, model: Model, loader: Loader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = split_files(model, tmp_path / "files", DTYPES[stored_in])
    found = loader.files(model, files, loaded_in)
    rounded = model.rounded(DTYPES[stored_in])
    assert_same_weights(found, loader.folder(rounded, loaded_in))
    assert np.array_equal(render(found.pipeline), loader.image(rounded, loaded_in))
    assert "does not use" not in caplog.text


def _one_dimensional_pads(model: Model) -> Tensors:
    stored = z_image_transformer(model.state("transformer"))
    return {name: tensor.squeeze(0) if name.endswith("pad_token") else tensor for name, tensor in stored.items()}


TRANSFORMERS: dict[str, Callable[[Model], Tensors]] = {
    "with a prefix": lambda model: below("model.diffusion_model.", z_image_transformer(model.state("transformer"))),
    "with one-dimensional pad tokens": _one_dimensional_pads,
    "in diffusers' names": lambda model: model.state("transformer"),
    "in diffusers' names with a prefix": lambda model: below("model.diffusion_model.", model.state("transformer")),
}


@pytest.mark.parametrize("layout", TRANSFORMERS)
def test_other_layouts_of_the_transformer_equal_the_folder(
    layout: str, model: Model, loader: Loader, tmp_path: Path
) -> None:
    files = split_files(model, tmp_path / "files")
    files["transformer"] = save(tmp_path / "other.safetensors", TRANSFORMERS[layout](model))
    found = loader.files(model, files, "bfloat16")
    assert_same_weights(found, loader.folder(model, "bfloat16"))
    assert np.array_equal(render(found.pipeline), loader.image(model, "bfloat16"))


def test_a_text_encoder_without_its_prefix_equals_the_folder(model: Model, loader: Loader, tmp_path: Path) -> None:
    files = split_files(model, tmp_path / "files")
    head = {"lm_head.weight": torch.zeros(4, 4)}
    files["text_encoder"] = save(tmp_path / "qwen.safetensors", model.state("text_encoder") | head)
    assert_same_weights(loader.files(model, files, "bfloat16"), loader.folder(model, "bfloat16"))


def test_one_file_with_all_components_equals_the_folder(model: Model, loader: Loader, tmp_path: Path) -> None:
    file = save(tmp_path / "all.safetensors", all_in_one(model))
    found = loader.files(model, dict.fromkeys(("transformer", "text_encoder", "vae"), file), "bfloat16")
    expected = loader.folder(model, "bfloat16")
    assert_same_weights(found, expected)
    assert np.array_equal(render(found.pipeline), loader.image(model, "bfloat16"))
    assert found.plan.estimate.device == pytest.approx(expected.plan.estimate.device, rel=0.001)


@pytest.mark.parametrize("component", ["transformer", "text_encoder", "vae"])
def test_a_missing_tensor_is_an_error_with_its_name(component: str, model: Model, loader: Loader, tmp_path: Path) -> None:
    stored = all_in_one(model)
    lost = {
        "transformer": ("model.diffusion_model.layers.1.attention_norm2.weight", "layers.1.attention_norm2.weight"),
        "text_encoder": ("text_encoders.qwen3_4b.transformer.model.norm.weight", "norm.weight"),
        "vae": ("vae.decoder.mid.attn_1.k.weight", "decoder.mid_block.attentions.0.to_k.weight"),
    }[component]
    file = save(tmp_path / "all.safetensors", {name: each for name, each in stored.items() if name != lost[0]})
    with pytest.raises(RenderError) as caught:
        loader.files(model, dict.fromkeys(("transformer", "text_encoder", "vae"), file), "bfloat16", recognised=False)
    assert caught.value.code == "model_unavailable"
    assert str(file) in caught.value.message
    assert f"lacks the tensor {lost[1]} of" in caught.value.message


def test_the_status_names_a_missing_tensor_as_a_load_does(model: Model, tmp_path: Path) -> None:
    lost = "model.diffusion_model.layers.1.attention_norm2.weight"
    whole = save(tmp_path / "whole.safetensors", all_in_one(model))
    cut = save(tmp_path / "cut.safetensors", {name: each for name, each in all_in_one(model).items() if name != lost})
    models_dir = tmp_path / "models"
    assert unusable_files({"transformer": whole, "text_encoder": whole, "vae": whole}, model.configs, models_dir) == []
    (found,) = unusable_files({"transformer": cut, "text_encoder": whole, "vae": cut}, model.configs, models_dir)
    assert found.startswith(f"{cut} lacks the tensor layers.1.attention_norm2.weight of ZImageTransformer2DModel")
    save(cut, all_in_one(model))
    assert unusable_files({"transformer": cut}, model.configs, models_dir) == [], "a file that was replaced is read again"


def test_a_file_without_the_component_is_refused(model: Model, loader: Loader, tmp_path: Path) -> None:
    stored = {name: each for name, each in all_in_one(model).items() if not name.startswith("vae.")}
    file = save(tmp_path / "most.safetensors", stored)
    with pytest.raises(RenderError, match="holds no vae") as caught:
        loader.files(model, dict.fromkeys(("transformer", "text_encoder", "vae"), file), "bfloat16", recognised=False)
    assert caught.value.code == "model_unavailable"


def test_a_model_without_a_file_for_a_component_is_refused(model: Model, loader: Loader, tmp_path: Path) -> None:
    files = split_files(model, tmp_path)
    del files["text_encoder"]
    with pytest.raises(RenderError, match="No file is given for the text encoder") as caught:
        loader.files(model, files, "bfloat16", recognised=False)
    assert caught.value.code == "model_unavailable"


def test_a_tensor_of_another_shape_is_refused(model: Model, loader: Loader, tmp_path: Path) -> None:
    files = split_files(model, tmp_path)
    stored = z_image_transformer(model.state("transformer"))
    wrong = save(tmp_path / "wrong.safetensors", stored | {"cap_embedder.0.weight": torch.zeros(7)})
    with pytest.raises(RenderError, match=r"cap_embedder.0.weight in the shape \[7\].*another model") as caught:
        loader.files(model, {**files, "transformer": wrong}, "bfloat16", recognised=False)
    assert caught.value.code == "model_unavailable"


def test_tensors_that_are_not_used_are_named_in_a_warning(
    model: Model, loader: Loader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = split_files(model, tmp_path)
    stored = z_image_transformer(model.state("transformer"))
    more = save(tmp_path / "more.safetensors", stored | {f"extra.{index}.weight": torch.ones(3) for index in range(5)})
    found = loader.files(model, {**files, "transformer": more}, "bfloat16")
    assert "extra.0.weight, extra.1.weight, extra.2.weight and 2 more" in caplog.text
    assert str(more) in caplog.text
    assert_same_weights(found, loader.folder(model, "bfloat16"))


@pytest.mark.parametrize("policy", ["cpu-int8"])
def test_packed_tiers_equal_the_folder_and_follow_the_files(
    policy: str, model: Model, models: Models, loader: Loader, tmp_path: Path
) -> None:
    files = split_files(model, tmp_path / "files")
    expected = loader.folder(model, "bfloat16", policy)
    first = loader.files(model, files, "bfloat16", policy)
    assert_same_weights(first, expected)
    copies = _copies(loader.models_dir)
    assert set(copies) >= {"from-files/transformer-int8-bfloat16", "from-files/text_encoder-int8-bfloat16"}
    assert_same_weights(loader.files(model, files, "bfloat16", policy), expected)
    assert _copies(loader.models_dir) == copies
    assert_same_weights(loader.files(model, files, "bfloat16", policy, row="other"), expected)
    assert "other/transformer-int8-bfloat16" in _copies(loader.models_dir)
    state = {name: -tensor for name, tensor in model.state("transformer").items()}
    save(files["transformer"], z_image_transformer(state))
    changed = loader.files(model, files, "bfloat16", policy)
    assert not torch.equal(changed.pipeline.transformer.cap_pad_token, first.pipeline.transformer.cap_pad_token)


def _copies(models_dir: Path) -> Mapping[str, int]:
    files = models_dir.glob("*/*/packed.safetensors")
    return {file.parent.relative_to(models_dir).as_posix(): file.stat().st_mtime_ns for file in files}


def test_weights_in_the_dtype_of_the_load_stay_mapped(model: Model, loader: Loader, tmp_path: Path) -> None:
    files = split_files(model, tmp_path, torch.bfloat16)
    found = loader.files(model, files, "bfloat16")
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert all(str(file) in mapped for file in files.values())
    assert not _copies(loader.models_dir)
    assert found.pipeline.transformer.dtype == torch.bfloat16


def test_the_record_names_the_files_and_their_content(model: Model, loader: Loader, tmp_path: Path) -> None:
    files = split_files(model, tmp_path)
    first = loader.files(model, files, "bfloat16").versions["weights_revision"]
    assert [part.partition("@")[0] for part in first.split()] == sorted(path.name for path in files.values())
    save(files["vae"], {name: -tensor for name, tensor in ldm_vae(model.state("vae")).items()})
    second = loader.files(model, files, "bfloat16").versions["weights_revision"]
    assert [a == b for a, b in zip(first.split(), second.split(), strict=True)] == [False, True, True]
