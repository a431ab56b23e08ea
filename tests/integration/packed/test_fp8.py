"""An fp8 file stays fp8, and a request alone equals stock diffusers' output from the same weights to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ZImageTransformer2DModel
from safetensors.torch import load_file

from core.errors import RenderError
from core.render import LoraRequest
from tests.integration.packed.conftest import (
    REQUEST,
    Whole,
    component,
    pipeline_with,
    rendered,
    rendered_in_turn,
    rendered_unpacked,
    stock,
)
from tests.integration.packed.published_files import (
    State,
    comfy_quant,
    plain_fp8,
    published_transformer,
    scaled_fp8,
    weight_file,
    write_safetensors,
)
from worker.memory.apply import move_in_one_allocation
from worker.memory.stored_layers import StoredFp8Linear
from worker.models.single_files.fp8 import load_fp8
from worker.models.tiny_models.build import build_lora

BF16, E4M3, E5M2 = torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2
SKIPPED_BY_CASTING = ("t_embedder", "cap_embedder", "norm")
"""What diffusers' layerwise casting leaves in the compute dtype."""


def ours(file: Path, whole: Whole, dtype: torch.dtype = BF16, name: str = "transformer") -> Any:  # noqa: ANN401 - a model
    return load_fp8(name, weight_file(file, "fp8", name), whole.folder, dtype)


def from_stock(source: Path | State, whole: Whole, dtype: torch.dtype = BF16) -> Any:  # noqa: ANN401 - a diffusers model
    """Load the file as stock diffusers does: unpacked."""
    return ZImageTransformer2DModel.from_single_file(
        source if isinstance(source, dict) else str(source), config=str(whole.folder), subfolder="transformer", dtype=dtype
    )


def folded(file: Path) -> State:
    """Return the file's weights in bf16, with their scales multiplied in."""
    stored = load_file(file)
    found = {}
    for name, tensor in stored.items():
        layer = name.removesuffix(".weight")
        scale = next(
            (stored[key] for part in ("weight_scale", "scale_weight") if (key := f"{layer}.{part}") in stored), None
        )
        if not name.endswith(("scale", "scale_weight", "scale_input", "comfy_quant", "scaled_fp8")):
            found[name] = tensor if scale is None else (tensor.float() * scale).to(BF16)
    return found


@pytest.mark.parametrize(
    ("everything", "prefix", "dtype"),
    [(True, "", E4M3), (True, "model.diffusion_model.", E5M2), (False, "", E5M2), (False, "model.diffusion_model.", E4M3)],
    ids=["all", "all of e5m2 below a prefix", "most of e5m2", "most below a prefix"],
)
def test_plain_fp8_equals_stock_diffusers(
    everything: bool, prefix: str, dtype: torch.dtype, whole: Whole, tmp_path: Path
) -> None:
    """Some converters cast every tensor, others leave norms, embedders and biases in bf16."""
    keep = (lambda _: False) if everything else (lambda name: "norm" in name or "embed" in name or name.endswith("bias"))
    state = {prefix + name: each for name, each in published_transformer(whole.transformer).items()}
    file = write_safetensors(tmp_path / "z.safetensors", plain_fp8(state, keep, dtype))
    found = rendered(pipeline_with(whole, BF16, transformer=ours(file, whole)))
    assert torch.equal(found, stock(pipeline_with(whole, BF16, transformer=from_stock(file, whole))))
    assert not torch.equal(found, rendered_unpacked(whole))


def test_plain_fp8_equals_layerwise_casting(whole: Whole, tmp_path: Path) -> None:
    """Where the file holds in fp8 what diffusers' casting keeps in fp8."""
    state = published_transformer(whole.transformer)
    keep = lambda name: any(part in name for part in SKIPPED_BY_CASTING) or "pad_token" in name  # noqa: E731
    file = write_safetensors(tmp_path / "z.safetensors", plain_fp8(state, keep, E4M3))
    reference = from_stock(file, whole)
    reference.enable_layerwise_casting(storage_dtype=E4M3, compute_dtype=BF16)
    assert reference.layers[0].feed_forward.w1.weight.dtype == E4M3
    found = rendered(pipeline_with(whole, BF16, transformer=ours(file, whole)))
    assert torch.equal(found, stock(pipeline_with(whole, BF16, transformer=reference)))


@pytest.mark.parametrize("older", [False, True], ids=["comfy_quant", "scaled_fp8"])
@pytest.mark.parametrize("by_rows", [False, True], ids=["one scale", "scale by row"])
def test_scaled_fp8_equals_folded_scales(by_rows: bool, older: bool, whole: Whole, tmp_path: Path) -> None:
    state = scaled_fp8(published_transformer(whole.transformer), older, by_rows)
    file = write_safetensors(tmp_path / "z.safetensors", state)
    model = ours(file, whole)
    layer = model.get_submodule("layers.0.attention.to_k")
    assert isinstance(layer, StoredFp8Linear)
    assert layer.weight_scale is not None
    assert len(layer.weight_scale) == (layer.out_features if by_rows else 1)
    found = rendered(pipeline_with(whole, BF16, transformer=model))
    assert torch.equal(found, stock(pipeline_with(whole, BF16, transformer=from_stock(folded(file), whole))))


def test_fp32_equals_stock_diffusers(whole: Whole, tmp_path: Path) -> None:
    state = plain_fp8(published_transformer(whole.transformer), lambda name: "norm" in name, E4M3)
    file = write_safetensors(tmp_path / "z.safetensors", state)
    found = rendered(pipeline_with(whole, torch.float32, transformer=ours(file, whole, torch.float32)))
    reference = from_stock(file, whole, torch.float32)
    assert torch.equal(found, stock(pipeline_with(whole, torch.float32, transformer=reference)))


@pytest.mark.parametrize("scaled", [False, True])
def test_it_stays_packed(scaled: bool, whole: Whole, tmp_path: Path) -> None:
    state = published_transformer(whole.transformer)
    state = scaled_fp8(state) if scaled else plain_fp8(state, lambda name: "norm" in name, E4M3)
    file = write_safetensors(tmp_path / "z.safetensors", state)
    model = ours(file, whole)
    held = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
    assert held < 1.02 * file.stat().st_size


def test_one_allocation_keeps_the_output(whole: Whole, tmp_path: Path) -> None:
    file = write_safetensors(tmp_path / "z.safetensors", scaled_fp8(published_transformer(whole.transformer)))
    pipeline = pipeline_with(whole, BF16, transformer=ours(file, whole))
    before = rendered(pipeline)
    move_in_one_allocation(pipeline.transformer, torch.device("cpu"))
    assert torch.equal(rendered(pipeline), before)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_lora_works_and_leaves_no_trace(scaled: bool, whole: Whole, tmp_path: Path) -> None:
    state = published_transformer(whole.transformer)
    state = scaled_fp8(state) if scaled else plain_fp8(state, lambda name: "norm" in name, E4M3)
    file = write_safetensors(tmp_path / "z.safetensors", state)
    lora = build_lora(pipeline_with(whole, BF16), tmp_path / "loras")
    models = (ours(file, whole), from_stock(folded(file), whole))
    pipelines = [pipeline_with(whole, BF16, transformer=each) for each in models]
    with_lora = REQUEST.model_copy(update={"loras": (LoraRequest(name=lora.stem),)})
    bare, adapted, bare_again = rendered_in_turn(pipelines[0], tmp_path, REQUEST, with_lora, REQUEST)
    pipelines[1].load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="tiny")
    assert not torch.equal(adapted, bare)
    assert torch.equal(adapted, stock(pipelines[1]))
    assert torch.equal(bare_again, bare)


@pytest.mark.parametrize("scaled", [False, True])
def test_a_text_encoder(scaled: bool, whole: Whole, tmp_path: Path) -> None:
    named = {f"model.{name}": tensor for name, tensor in whole.text_encoder.items()}
    state = scaled_fp8(named) if scaled else plain_fp8(named, lambda name: "norm" in name, E4M3)
    file = write_safetensors(tmp_path / "qwen.safetensors", state)
    encoder = ours(file, whole, BF16, "text_encoder")
    assert isinstance(encoder.get_submodule("layers.0.self_attn.q_proj"), StoredFp8Linear)
    reference = component(whole, "text_encoder", BF16)
    reference.load_state_dict({name.removeprefix("model."): each.to(BF16) for name, each in folded(file).items()})
    pipelines = [pipeline_with(whole, BF16, text_encoder=each) for each in (encoder, reference)]
    assert torch.equal(rendered(pipelines[0]), stock(pipelines[1]))


def test_a_missing_tensor_is_an_error(whole: Whole, tmp_path: Path) -> None:
    state = scaled_fp8(published_transformer(whole.transformer))
    del state["layers.0.attention.out.weight"], state["layers.0.attention.out.weight_scale"]
    file = write_safetensors(tmp_path / "z.safetensors", state)
    with pytest.raises(RenderError, match=r"lacks the tensor layers\.0\.attention\.to_out\.0\.weight") as caught:
        ours(file, whole)
    assert caught.value.code == "model_unavailable"


def test_another_form_is_refused(whole: Whole, tmp_path: Path) -> None:
    state = scaled_fp8(published_transformer(whole.transformer))
    state["layers.0.attention.out.comfy_quant"] = comfy_quant("nvfp4")
    file = write_safetensors(tmp_path / "z.safetensors", state)
    with pytest.raises(RenderError, match="is in the format nvfp4; of ComfyUI's formats only fp8 is supported") as caught:
        ours(file, whole)
    assert caught.value.code == "model_unavailable"


def test_scales_of_blocks_are_refused(whole: Whole, tmp_path: Path) -> None:
    state = scaled_fp8(published_transformer(whole.transformer))
    state["layers.0.attention.out.weight_scale"] = torch.ones(768, 6)
    file = write_safetensors(tmp_path / "z.safetensors", state)
    with pytest.raises(RenderError, match="is for another form than one number"):
        ours(file, whole)
