"""Weight files are recognised by their headers alone, and others get a sentence that says what they seem to be."""

from __future__ import annotations

import pickle
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from core.catalogue.recognise import recognise
from core.errors import InvalidInput
from tests.unit.models import weight_samples as samples
from tests.unit.models.diffusers_folder import write_model

Tensors = Mapping[str, tuple[str, Sequence[int]]]
ALL_IN_ONE = (
    samples.z_image(prefix="model.diffusion_model.")
    | samples.qwen3(prefix="text_encoders.qwen3_4b.transformer.model.")
    | samples.vae(16, prefix="vae.")
)
FUSED_SPLIT = {
    name.replace("attention.qkv", "attention.to_q"): value for name, value in samples.z_image().items()
}  # diffusers' own names

KNOWN: dict[str, tuple[Tensors, str, tuple[str, ...], tuple[str, ...], str]] = {
    "transformer": (samples.z_image(), "component", ("z-image",), ("transformer",), "bf16"),
    "prefixed": (samples.z_image(prefix="model.diffusion_model."), "component", ("z-image",), ("transformer",), "bf16"),
    "diffusers names": (FUSED_SPLIT, "component", ("z-image",), ("transformer",), "bf16"),
    "flat pads": (samples.z_image(flat_pads=True), "component", ("z-image",), ("transformer",), "bf16"),
    "fp8": (samples.z_image("F8_E4M3"), "component", ("z-image",), ("transformer",), "fp8"),
    "weight_scale": (
        samples.z_image("F8_E4M3", scales=".weight_scale"),
        "component",
        ("z-image",),
        ("transformer",),
        "fp8-scaled",
    ),
    "comfy_quant": (
        samples.z_image("F8_E4M3", scales=".comfy_quant"),
        "component",
        ("z-image",),
        ("transformer",),
        "fp8-scaled",
    ),
    "scale_weight": (
        samples.z_image("F8_E4M3", scales=".scale_weight"),
        "component",
        ("z-image",),
        ("transformer",),
        "fp8-scaled",
    ),
    "all in one": (ALL_IN_ONE, "checkpoint", ("z-image",), ("transformer", "text_encoder", "vae"), "bf16"),
    "qwen3": (samples.qwen3(), "component", ("z-image", "flux2-klein"), ("text_encoder",), "bf16"),
    "qwen3 full size": (samples.qwen3(width=2560), "component", ("z-image", "flux2-klein"), ("text_encoder",), "bf16"),
    "flux vae": (samples.vae(16), "component", ("z-image",), ("vae",), "fp32"),
    "sd vae": (samples.vae(4), "component", ("sd15", "sd21", "sdxl"), ("vae",), "fp32"),
    "flux2 vae": (samples.vae(32), "component", ("flux2-klein",), ("vae",), "fp32"),
    "sd15": (samples.checkpoint("sd15"), "checkpoint", ("sd15",), ("unet", "text_encoder", "vae"), "fp16"),
    "sd21": (samples.checkpoint("sd21"), "checkpoint", ("sd21",), ("unet", "text_encoder", "vae"), "fp16"),
    "sdxl": (samples.checkpoint("sdxl"), "checkpoint", ("sdxl",), ("unet", "text_encoder", "text_encoder_2", "vae"), "fp16"),
    "unet": (samples.unet("sdxl"), "component", ("sdxl",), ("unet",), "fp16"),
    "clip l": (
        {"text_model.embeddings.token_embedding.weight": ("F16", [100, 768])},
        "component",
        ("sd15", "sdxl"),
        ("text_encoder",),
        "fp16",
    ),
    "clip g": (
        {"text_model.embeddings.token_embedding.weight": ("F16", [100, 1280])},
        "component",
        ("sdxl",),
        ("text_encoder_2",),
        "fp16",
    ),
    "klein": (
        {"single_stream_modulation.lin.weight": ("BF16", [96, 32]), "txt_in.weight": ("BF16", [32, 7680])},
        "component",
        ("flux2-klein",),
        ("transformer",),
        "bf16",
    ),
    "qwen-image": (
        {"txt_norm.weight": ("BF16", [64]), "transformer_blocks.0.img_mod.1.weight": ("BF16", [96, 16])},
        "component",
        ("qwen-image",),
        ("transformer",),
        "bf16",
    ),
    "z-image lora": (
        samples.lora("diffusion_model.layers.0.attention.to_q"),
        "lora",
        ("z-image",),
        (),
        "fp16",
    ),
    "z-image lora, kohya": (
        samples.lora("lora_unet_layers_0_attention_to_q", layout="kohya"),
        "lora",
        ("z-image",),
        (),
        "fp16",
    ),
    "z-image lora, diffusers": (samples.lora("transformer.layers.1.feed_forward.w1"), "lora", ("z-image",), (), "fp16"),
    "sd15 lora": (
        samples.lora("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", layout="kohya", width=768),
        "lora",
        ("sd15",),
        (),
        "fp16",
    ),
    "sd21 lora": (
        samples.lora("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", layout="kohya", width=1024),
        "lora",
        ("sd21",),
        (),
        "fp16",
    ),
    "sdxl lora": (
        samples.lora("lora_te2_text_model_encoder_layers_0_mlp_fc1", "lora_unet_input_blocks_4_1_proj_in", layout="kohya"),
        "lora",
        ("sdxl",),
        (),
        "fp16",
    ),
    "sd lora, diffusers": (
        samples.lora("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k", width=2048),
        "lora",
        ("sdxl",),
        (),
        "fp16",
    ),
    "klein lora": (
        samples.lora("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj"),
        "lora",
        ("flux2-klein",),
        (),
        "fp16",
    ),
    "qwen-image lora": (samples.lora("transformer_blocks.0.img_mlp.net.0.proj"), "lora", ("qwen-image",), (), "fp16"),
    "esrgan": (
        {"conv_first.weight": ("F32", [8, 3, 3, 3]), "body.0.rdb1.conv1.weight": ("F32", [8, 8, 3, 3])},
        "upscaler",
        (),
        (),
        "fp32",
    ),
    "old esrgan": (
        {"model.0.weight": ("F32", [8, 3, 3, 3]), "model.1.sub.0.RDB1.conv1.0.weight": ("F32", [8, 8, 3, 3])},
        "upscaler",
        (),
        (),
        "fp32",
    ),
    "swinir": (
        {
            "conv_first.weight": ("F32", [8, 3, 3, 3]),
            "layers.0.residual_group.blocks.0.attn.relative_position_bias_table": ("F32", [225, 6]),
        },
        "upscaler",
        (),
        (),
        "fp32",
    ),
}

FOREIGN: dict[str, tuple[Tensors, str]] = {
    "language model": ({"model.layers.0.self_attn.q_proj.weight": ("BF16", [8, 8])}, "a language model"),
    "qwen3 8b": (samples.qwen3(width=4096), "Qwen3-8B"),
    "controlnet": ({"control_model.time_embed.0.weight": ("F16", [8, 8])}, "a ControlNet for Stable Diffusion"),
    "z-image controlnet": ({"control_layers.0.adaLN_modulation.0.weight": ("F16", [8, 8])}, "a ControlNet for Z-Image"),
    "flux": ({"double_blocks.0.img_attn.norm.key_norm.scale": ("BF16", [8])}, "Flux.1"),
    "sd3": (
        {"model.diffusion_model.joint_blocks.0.context_block.adaLN_modulation.1.bias": ("F16", [8])},
        "Stable Diffusion 3",
    ),
    "wan": ({"head.modulation": ("F16", [1, 2, 8]), "blocks.0.self_attn.q.weight": ("F16", [8, 8])}, "a Wan video model"),
    "lumina": ({"cap_embedder.0.weight": ("BF16", [8])}, "Lumina 2"),
    "embedding": ({"emb_params": ("F32", [4, 768])}, "a textual inversion"),
    "sdxl embedding": ({"clip_l": ("F32", [4, 768]), "clip_g": ("F32", [4, 1280])}, "a textual inversion"),
    "inpainting": (samples.checkpoint("sd15", channels=9), "an inpainting model with a mask as input"),
    "klein 9b": (
        {"single_stream_modulation.lin.weight": ("BF16", [96, 32]), "txt_in.weight": ("BF16", [32, 12288])},
        "FLUX.2 klein 9B",
    ),
    "flux lora": (samples.lora("transformer.single_transformer_blocks.30.attn.to_q"), "a LoRA for Flux.1"),
    "lokr": ({"lora_unet_layers_0_attention_qkv.lokr_w1": ("F16", [4, 4])}, "a LoKr"),
    "nunchaku": (samples.z_image() | {"layers.0.attention.to_q.wscales": ("BF16", [4, 8])}, "Nunchaku"),
    "nvfp4": (samples.z_image() | {"layers.0.attention.qkv.weight_scale_2": ("F32", [])}, "NVFP4"),
    "int8": (samples.z_image("I8"), "INT8"),
    "t5": ({"encoder.block.0.layer.0.SelfAttention.q.weight": ("F16", [8, 8])}, "a T5 text encoder"),
    "nothing known": ({"some.weight": ("F16", [8, 8])}, "is not known here"),
}


@pytest.mark.parametrize("case", KNOWN)
def test_a_known_file_is_named(case: str, tmp_path: Path) -> None:
    tensors, kind, architectures, components, precision = KNOWN[case]
    found = recognise(samples.write_safetensors(tmp_path / "any.safetensors", tensors))
    assert (found.kind, found.architectures, found.components) == (kind, architectures, components)
    assert (found.precision, found.container) == (precision, "safetensors")
    assert found.sentence.startswith("any.safetensors is ")


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_file_gets_a_sentence_with_what_is_supported(case: str, tmp_path: Path) -> None:
    tensors, phrase = FOREIGN[case]
    found = recognise(samples.write_safetensors(tmp_path / "any.safetensors", tensors))
    assert (found.kind, found.architectures, found.components) == ("unknown", (), ())
    assert phrase in found.sentence
    assert "Supported" in found.sentence


@pytest.mark.parametrize(
    "kind", ["Q2_K", "Q3_K", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0", "BF16", "F16"]
)
@pytest.mark.parametrize("flat_pads", [False, True])
def test_gguf_of_every_type_is_named(kind: str, flat_pads: bool, tmp_path: Path) -> None:
    tensors = {name: row for name, row in samples.z_image(flat_pads=flat_pads).items() if name != "x_embedder.weight"}
    found = recognise(samples.write_gguf(tmp_path / "z.gguf", tensors, kind, "lumina2"))
    assert (found.kind, found.container, found.architectures) == ("component", "gguf", ("z-image",))
    assert found.precision == {"BF16": "bf16", "F16": "fp16"}.get(kind, kind)


@pytest.mark.parametrize("kind", ["IQ4_NL", "TQ1_0"])
def test_gguf_types_without_a_loader_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    tensors = {name: row for name, row in samples.z_image().items() if name != "x_embedder.weight"}
    found = recognise(samples.write_gguf(tmp_path / "z.gguf", tensors, kind, "lumina2"))
    assert found.kind == "unknown"
    assert kind in found.sentence


def test_a_text_encoder_in_gguf_is_named_and_another_language_model_refused(tmp_path: Path) -> None:
    tokens = [f"token {index}" for index in range(5000)]
    qwen = samples.write_gguf(tmp_path / "q.gguf", samples.qwen3_gguf(), "Q8_0", "qwen3", tokenizer__ggml__tokens=tokens)
    llama = {name: row for name, row in samples.qwen3_gguf().items() if "norm" not in name}
    found = recognise(qwen)
    assert (found.architectures, found.components, found.precision) == (
        ("z-image", "flux2-klein"),
        ("text_encoder",),
        "Q8_0",
    )
    assert "a language model (llama)" in recognise(samples.write_gguf(tmp_path / "l.gguf", llama, "Q8_0", "llama")).sentence


def test_a_full_size_file_takes_less_than_a_second(tmp_path: Path) -> None:
    file = samples.write_safetensors(tmp_path / "z_image_turbo_bf16.safetensors", samples.z_image(layers=30, dim=3840))
    assert file.stat().st_size > 10e9
    started = time.process_time()
    assert recognise(file).architectures == ("z-image",)
    assert time.process_time() - started < 1


def test_the_name_says_which_stable_diffusion_a_vae_is_for(tmp_path: Path) -> None:
    sdxl = samples.write_safetensors(tmp_path / "sdxl_vae.safetensors", samples.vae(4))
    old = samples.write_safetensors(tmp_path / "vae-ft-mse-840000.safetensors", samples.vae(4))
    assert recognise(sdxl).architectures == ("sdxl",)
    assert recognise(old).architectures == ("sd15", "sd21")


def test_a_pickled_checkpoint_is_named_and_refused_without_unpickling(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(tmp_path / "ran"),))  # type: ignore[return-value]

    file = tmp_path / "old.ckpt"
    content = {"model.diffusion_model.input_blocks.0.0.weight": 1, "cond_stage_model.model.ln_final.weight": Bomb()}
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content))
    found = recognise(file)
    assert (found.kind, found.container) == ("unknown", "pickle")
    assert "a checkpoint of Stable Diffusion 2.1" in found.sentence
    assert ".safetensors" in found.sentence
    assert not (tmp_path / "ran").exists()


def test_a_pickled_upscaler_is_named(tmp_path: Path) -> None:
    file = tmp_path / "RealESRGAN_x4plus.pth"
    content = {"params_ema": {"conv_first.weight": 0, "body.0.rdb1.conv1.weight": 0}}
    file.write_bytes(pickle.dumps(content))
    found = recognise(file)
    assert (found.kind, found.container) == ("upscaler", "pickle")


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-LFS"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{", "cut off"),
        (b"GGUF\x03\x00\x00\x00", "cut off"),
        (b"MZ\x90\x00 a program", "is not a file of PyTorch, or"),
    ],
)
def test_damaged_files_get_a_sentence(content: bytes, phrase: str, tmp_path: Path) -> None:
    file = tmp_path / "z.safetensors"
    file.write_bytes(content)
    found = recognise(file)
    assert found.kind == "unknown"
    assert found.sentence.startswith("z.safetensors ")
    if b"MZ" not in content:
        assert phrase in found.sentence


def test_a_missing_file_is_an_error_with_a_code(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        recognise(tmp_path / "none.safetensors")
    assert caught.value.code == "weights_not_found"


def test_a_shard_names_the_folder_instead(tmp_path: Path) -> None:
    file = samples.write_safetensors(tmp_path / "model-00001-of-00003.safetensors", samples.qwen3())
    assert "name its model's folder instead" in recognise(file).sentence


def test_a_folder_in_diffusers_layout_is_named(tmp_path: Path) -> None:
    found = recognise(write_model(tmp_path / "mine"))
    assert (found.kind, found.architectures) == ("checkpoint", ("z-image",))
    other = recognise(write_model(tmp_path / "other", "FluxPipeline"))
    assert other.kind == "unknown"
    assert "FluxPipeline" in other.sentence
    assert recognise(tmp_path).kind == "unknown"
