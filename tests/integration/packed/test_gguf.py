"""A GGUF file stays packed, and a request alone equals stock diffusers' output from the same file to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import GGUFQuantizationConfig, ZImageTransformer2DModel
from diffusers.models.model_loading_utils import load_gguf_checkpoint
from diffusers.quantizers.gguf.utils import GGUFLinear, dequantize_gguf_tensor
from transformers import Qwen3ForCausalLM

from core.errors import RenderError
from core.render import LoraRequest
from tests.integration.packed.conftest import (
    REQUEST,
    Whole,
    pipeline_with,
    rendered,
    rendered_in_turn,
    rendered_unpacked,
    stock,
)
from tests.integration.packed.published_files import (
    State,
    llama_text_encoder,
    mostly,
    published_transformer,
    weight_file,
    write_gguf,
)
from worker.memory.apply import move_in_one_allocation
from worker.memory.stored_layers import GgufEmbedding, GgufLinear
from worker.memory.stored_sizes import BLOCKS
from worker.models.single_files.gguf import load_gguf
from worker.models.tiny_models.build import build_lora

KINDS = [kind for kind in BLOCKS if kind != "F32"]
BF16 = torch.bfloat16


def from_stock(source: Path | State, whole: Whole, dtype: torch.dtype) -> Any:  # noqa: ANN401 - a diffusers model
    """Load the file as stock diffusers does."""
    return ZImageTransformer2DModel.from_single_file(
        source if isinstance(source, dict) else str(source),
        config=str(whole.folder),
        subfolder="transformer",
        quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
        dtype=dtype,
    )


def ours(file: Path, whole: Whole, dtype: torch.dtype = BF16) -> Any:  # noqa: ANN401 - a diffusers model
    return load_gguf("transformer", weight_file(file, "Q8_0"), whole.folder, dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_equals_stock_diffusers(kind: str, whole: Whole, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "z.gguf", published_transformer(whole.transformer), mostly(kind))
    pipeline = pipeline_with(whole, BF16, transformer=ours(file, whole))
    found = rendered(pipeline)
    assert torch.isfinite(found).all()
    if kind != "BF16":
        layer = pipeline.transformer.get_submodule("layers.0.feed_forward.w2")
        assert isinstance(layer, GGUFLinear) == (kind != "F16")
    assert torch.equal(found, stock(pipeline_with(whole, BF16, transformer=from_stock(file, whole, BF16))))
    assert not torch.equal(found, rendered_unpacked(whole)) or kind in ("F16", "BF16")


def test_fp32_equals_stock_diffusers(whole: Whole, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "z.gguf", published_transformer(whole.transformer), mostly("Q5_1"))
    found = rendered(pipeline_with(whole, torch.float32, transformer=ours(file, whole, torch.float32)))
    reference = pipeline_with(whole, torch.float32, transformer=from_stock(file, whole, torch.float32))
    assert torch.equal(found, stock(reference))


@pytest.mark.parametrize(
    ("pads", "flat", "prefix"),
    [
        ("F32", True, ""),
        ("BF16", True, "model.diffusion_model."),
        ("BF16", False, ""),
        ("F16", True, "model.diffusion_model."),
        ("Q8_0", False, "model.diffusion_model."),
    ],
)
def test_pads_of_every_kind(pads: str, flat: bool, prefix: str, whole: Whole, tmp_path: Path) -> None:
    """Stock diffusers fails on these, so the reference gets the pads unpacked, in a dict."""
    state = {
        prefix + name: tensor[0] if flat and "pad_token" in name else tensor
        for name, tensor in published_transformer(whole.transformer).items()
    }
    usual = mostly("Q4_0")
    file = write_gguf(tmp_path / "z.gguf", state, lambda name, tensor: pads if "pad_token" in name else usual(name, tensor))
    fixed = load_gguf_checkpoint(str(file))
    for name in fixed:
        if "pad_token" in name:
            fixed[name] = dequantize_gguf_tensor(fixed[name]).reshape(1, -1)
    found = rendered(pipeline_with(whole, BF16, transformer=ours(file, whole)))
    assert torch.equal(found, stock(pipeline_with(whole, BF16, transformer=from_stock(fixed, whole, BF16))))


def test_norms_and_biases_in_bf16(whole: Whole, tmp_path: Path) -> None:
    """Stock diffusers takes their bytes for numbers."""
    state = published_transformer(whole.transformer)
    usual = mostly("Q8_0")
    file = write_gguf(tmp_path / "z.gguf", state, usual)
    narrow = write_gguf(tmp_path / "n.gguf", state, lambda name, each: "BF16" if each.ndim < 2 else usual(name, each))
    first, second = (rendered(pipeline_with(whole, BF16, transformer=ours(each, whole))) for each in (file, narrow))
    assert torch.equal(first, second)


def test_it_stays_packed_and_mapped(whole: Whole, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "z.gguf", published_transformer(whole.transformer), mostly("Q4_0"))
    model = ours(file, whole)
    assert sum(each.nbytes for each in model.parameters()) < 1.02 * file.stat().st_size
    assert str(file) in Path("/proc/self/maps").read_text()


def test_one_allocation_keeps_the_output(whole: Whole, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "z.gguf", published_transformer(whole.transformer), mostly("Q8_0"))
    pipeline = pipeline_with(whole, BF16, transformer=ours(file, whole))
    before = rendered(pipeline)
    move_in_one_allocation(pipeline.transformer, torch.device("cpu"))
    storages = {each.untyped_storage().data_ptr() for each in pipeline.transformer.parameters()}
    assert len(storages) == 1
    assert torch.equal(rendered(pipeline), before)


def test_a_lora_works_and_leaves_no_trace(whole: Whole, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "z.gguf", published_transformer(whole.transformer), mostly("Q4_0"))
    lora = build_lora(pipeline_with(whole, BF16), tmp_path / "loras")
    pipelines = [pipeline_with(whole, BF16, transformer=each) for each in (ours(file, whole), from_stock(file, whole, BF16))]
    with_lora = REQUEST.model_copy(update={"loras": (LoraRequest(name=lora.stem),)})
    bare, adapted, bare_again = rendered_in_turn(pipelines[0], tmp_path, REQUEST, with_lora, REQUEST)
    pipelines[1].load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="tiny")
    assert not torch.equal(adapted, bare)
    assert torch.equal(adapted, stock(pipelines[1]))
    assert torch.equal(bare_again, bare)


def test_a_missing_tensor_is_an_error(whole: Whole, tmp_path: Path) -> None:
    state = published_transformer(whole.transformer)
    del state["layers.0.feed_forward.w1.weight"]
    file = write_gguf(tmp_path / "z.gguf", state, mostly("Q8_0"))
    with pytest.raises(RenderError, match=r"lacks the tensor layers\.0\.feed_forward\.w1\.weight") as caught:
        ours(file, whole)
    assert caught.value.code == "model_unavailable"


def test_another_shape_is_an_error(whole: Whole, tmp_path: Path) -> None:
    state = published_transformer(whole.transformer)
    state["layers.0.feed_forward.w1.weight"] = torch.zeros(32, 768)
    file = write_gguf(tmp_path / "z.gguf", state, mostly("Q8_0"))
    with pytest.raises(RenderError, match=r"w1\.weight is \[32, 768\], not \[2048, 768\]"):
        ours(file, whole)


@pytest.mark.parametrize(("damage", "message"), [("cut", "it is cut off"), ("text", "not a GGUF file")])
def test_a_damaged_file_is_an_error(damage: str, message: str, whole: Whole, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "z.gguf", published_transformer(whole.transformer), mostly("Q8_0"))
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] if damage == "cut" else b"<!doctype html>" * 9)
    with pytest.raises(RenderError, match=message) as caught:
        load_gguf("transformer", weight_file(file, "Q8_0"), whole.folder, BF16)
    assert caught.value.code == "model_unavailable"


def test_an_unsupported_type_is_named(whole: Whole, tmp_path: Path) -> None:
    state = {"layers.0.feed_forward.w1.weight": torch.zeros(4, 256)}
    file = write_gguf(tmp_path / "z.gguf", state, lambda *_: "TQ1_0")
    with pytest.raises(RenderError, match=r"ggml's type TQ1_0; supported are F32, .*Q6_K"):
        ours(file, whole)


def qwen_values(whole: Whole) -> dict[str, int | float]:
    """Return the metadata that transformers reads."""
    return {
        "qwen3.block_count": 2,
        "qwen3.context_length": 2048,
        "qwen3.embedding_length": 256,
        "qwen3.feed_forward_length": 512,
        "qwen3.attention.head_count": 2,
        "qwen3.attention.head_count_kv": 1,
        "qwen3.attention.key_length": 128,
        "qwen3.attention.value_length": 128,
        "qwen3.rope.freq_base": 1e6,
        "qwen3.attention.layer_norm_rms_epsilon": 1e-6,
        "qwen3.vocab_size": whole.text_encoder["embed_tokens.weight"].shape[0],
    }


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K", "Q6_K", "BF16"])
def test_a_text_encoder_equals_transformers(kind: str, whole: Whole, tmp_path: Path) -> None:
    values = qwen_values(whole)
    file = write_gguf(tmp_path / "qwen.gguf", llama_text_encoder(whole.text_encoder), mostly(kind), "qwen3", values)
    encoder = load_gguf("text_encoder", weight_file(file, kind, "text_encoder"), whole.folder, BF16)
    if kind != "BF16":
        assert isinstance(encoder.get_submodule("embed_tokens"), GgufEmbedding)
        assert isinstance(encoder.get_submodule("layers.0.self_attn.q_proj"), GgufLinear)
    reference: Any = Qwen3ForCausalLM.from_pretrained(str(tmp_path), gguf_file=file.name, dtype=BF16)
    pipelines = [pipeline_with(whole, BF16, text_encoder=each) for each in (encoder, reference.model)]
    found = rendered(pipelines[0])
    assert torch.equal(found, stock(pipelines[1]))
    assert not torch.equal(found, rendered_unpacked(whole)) or kind == "BF16"


def test_a_text_encoder_without_a_tensor_is_an_error(whole: Whole, tmp_path: Path) -> None:
    state = llama_text_encoder(whole.text_encoder)
    del state["blk.1.ffn_up.weight"]
    file = write_gguf(tmp_path / "qwen.gguf", state, mostly("Q8_0"), "qwen3")
    with pytest.raises(RenderError, match=r"lacks the tensor layers\.1\.mlp\.up_proj\.weight") as caught:
        load_gguf("text_encoder", weight_file(file, "Q8_0", "text_encoder"), whole.folder, BF16)
    assert caught.value.code == "model_unavailable"


def test_other_components_are_refused(whole: Whole, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "vae.gguf", {"x": torch.zeros(32)}, mostly("F32"))
    with pytest.raises(RenderError, match="AutoencoderKL cannot be read from a GGUF file"):
        load_gguf("vae", weight_file(file, "F32"), whole.folder, BF16)


def test_the_unpacked_transformer_is_the_reference_of_f16(whole: Whole, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "z.gguf", published_transformer(whole.transformer), mostly("BF16"))
    found = rendered(pipeline_with(whole, BF16, transformer=ours(file, whole)))
    assert torch.equal(found, rendered_unpacked(whole))
