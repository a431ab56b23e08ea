"""What a LoRA's header tells: the family by its keys, the words of its trainer, and what is wrong with it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from core.catalogue.lora_facts import LoraFacts, read_facts


def write_lora(file: Path, shapes: dict[str, list[int]], metadata: dict[str, object] | None = None) -> Path:
    """Write a safetensors file of zeros in half precision."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
    return file


def facts_of(tmp_path: Path, names: list[str], width: int = 8, metadata: dict[str, object] | None = None) -> LoraFacts:
    return read_facts(write_lora(tmp_path / "x.safetensors", {name: [2, width] for name in names}, metadata))


@pytest.mark.parametrize(
    ("name", "width", "style", "families"),
    [
        ("transformer.layers.0.attention.to_q.lora_A.weight", 3840, "diffusers", ["z-image"]),
        ("diffusion_model.noise_refiner.1.feed_forward.w1.lora_A.weight", 3840, "comfyui", ["z-image"]),
        ("lora_unet_context_refiner_0_attention_to_out_0.lora_down.weight", 3840, "kohya", ["z-image"]),
        ("base_model.model.layers.29.adaLN_modulation.0.lora_A.weight", 256, "peft", ["z-image"]),
        ("diffusion_model.layers.0.attention.qkv.lokr_w1", 16, "lycoris", ["z-image"]),
        ("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight", 768, "kohya", ["sd15"]),
        ("unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v.lora_A.weight", 1024, "diffusers", ["sd21"]),
        ("unet.mid_block.attentions.0.blocks.0.attn2.processor.to_k_lora.down.weight", 768, "diffusers", ["sd15"]),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight", 2048, "kohya", ["sdxl"]),
        ("lora_te2_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", 1280, "kohya", ["sdxl"]),
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", 768, "kohya", ["sd15", "sd21"]),
        ("unet.mid_block.attentions.0.proj_in.lora_A.weight", 32, "diffusers", ["sd15", "sd21", "sdxl"]),
        ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight", 3072, "diffusers", ["flux2-klein"]),
        ("diffusion_model.double_blocks.4.img_attn.qkv.lora_A.weight", 3072, "comfyui", ["flux2-klein"]),
        ("transformer.transformer_blocks.59.img_mlp.net.0.proj.lora_A.weight", 3072, "diffusers", ["qwen-image"]),
        ("lora_unet_transformer_blocks_0_txt_mod_1.lora_down.weight", 3072, "kohya", ["qwen-image"]),
        ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", 3072, "diffusers", ["flux2-klein", "qwen-image"]),
        ("something.else.lora_A.weight", 8, "peft", []),
    ],
)  # fmt: skip
def test_keys_tell_family_and_style(tmp_path: Path, name: str, width: int, style: str, families: list[str]) -> None:
    facts = facts_of(tmp_path, [name], width)
    assert (facts.key_style, list(facts.architectures), facts.problem, facts.layers) == (style, families, "", 1)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("lora_unet_double_blocks_18_img_mod_lin.lora_down.weight", "FLUX.1"),
        ("diffusion_model.single_blocks.37.linear1.lora_A.weight", "FLUX.1"),
        ("transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight", "FLUX.1"),
        ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "Wan"),
    ],
)
def test_a_family_without_a_model_is_named(tmp_path: Path, name: str, label: str) -> None:
    facts = facts_of(tmp_path, [name])
    assert facts.problem.startswith(f"is a LoRA for {label}; supported are Z-Image, ")


def test_the_trainers_words_decide_only_between_what_the_keys_leave_open(tmp_path: Path) -> None:
    open_key = "unet.mid_block.attentions.0.proj_in.lora_A.weight"
    assert facts_of(tmp_path, [open_key], 32, {"ss_base_model_version": "sdxl_base_v1-0"}).architectures == ("sdxl",)
    z_image = "transformer.layers.0.attention.to_q.lora_A.weight"
    assert facts_of(tmp_path, [z_image], 8, {"modelspec.architecture": "stable-diffusion-v1/lora"}).architectures == (
        "z-image",
    )


def test_title_base_trigger_words_and_hash_come_from_the_metadata(tmp_path: Path) -> None:
    key = "transformer.layers.0.attention.to_q.lora_A.weight"
    told: dict[str, object] = {
        "modelspec.title": " Ink\nwash ",
        "modelspec.trigger_phrase": "inkstyle, brush , ",
        "ss_base_model_version": "zimage",
        "ss_sd_model_name": "C:\\models\\z_image.safetensors",
        "sshs_model_hash": "AB" * 32,
    }
    facts = facts_of(tmp_path, [key], 8, told)
    assert (facts.title, facts.base) == ("Ink wash", "zimage (z_image.safetensors)")
    assert facts.trigger_words == ("inkstyle", "brush")
    assert facts.stored_hash == "ab" * 6


def test_tags_of_every_training_image_are_trigger_words(tmp_path: Path) -> None:
    tags = {"10_ohwx": {"ohwx": 20, "man": 20, "outdoors": 3}, "5_more": {"hat": 1}}
    key = "transformer.layers.0.attention.to_q.lora_A.weight"
    assert facts_of(tmp_path, [key], 8, {"ss_tag_frequency": json.dumps(tags)}).trigger_words == ("ohwx", "man")


@pytest.mark.parametrize("tags", ["[]", "{", '{"a": 3}', '{"a": {"b": "many"}}', "5", '{"a": {"one": 1, "two": 1}}'])
def test_odd_metadata_is_no_error(tmp_path: Path, tags: str) -> None:
    told: dict[str, object] = {"ss_tag_frequency": tags, "modelspec.title": 5, "sshs_model_hash": "None"}
    facts = facts_of(tmp_path, ["transformer.layers.0.attention.to_q.lora_A.weight"], 8, told)
    assert (facts.problem, facts.trigger_words, facts.title, facts.stored_hash) == ("", (), "", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"this is no tensor, but some longer text", "is not a safetensors file"),
        (struct.pack("<Q", 500) + b"{}", "is cut off"),
        (struct.pack("<Q", 2) + b"[]", "has a damaged header"),
        (struct.pack("<Q", 2) + b"{}", "holds no LoRA layers"),
    ],
)
def test_a_damaged_file_has_its_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    assert reason in read_facts(file).problem


def test_a_checkpoint_and_a_pickle_are_no_loras(tmp_path: Path) -> None:
    assert facts_of(tmp_path, ["model.diffusion_model.input_blocks.0.0.weight"]).problem == "holds no LoRA layers"
    assert "is no safetensors file" in read_facts(tmp_path / "x.pt").problem
