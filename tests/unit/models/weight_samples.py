"""Write weight files with the published names of tensors; their data is a hole, so that any size costs no disk space."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

Tensors = Mapping[str, tuple[str, Sequence[int]]]
"""Name -> type of safetensors and shape."""
BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "U8": 1, "I8": 1, "I64": 8}


def write_safetensors(file: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Path:
    """Write a valid file whose tensors are zeros."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        opened.truncate(8 + len(text) + offset)
    return file


def write_gguf(file: Path, tensors: Tensors, kind: str, architecture: str, **values: object) -> Path:
    """Write a GGUF file with the gguf package: matrices in that type, vectors in F32 (or BF16 when `kind` is BF16)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(file, architecture)
    for name, value in values.items():
        key = name.replace("__", ".")
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_string(key, str(value))
    wanted = GGMLQuantizationType[kind]
    for name, (_, shape) in tensors.items():
        data = np.zeros(tuple(shape), dtype=np.float32)
        used = wanted if len(shape) == 2 else GGMLQuantizationType.F32
        writer.add_tensor(name, _packed(data, used), raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _packed(data: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    try:
        return quantize(data, kind)
    except NotImplementedError:  # The package packs no K types; zeros have the same bytes there.
        from gguf import GGML_QUANT_SIZES

        block, size = GGML_QUANT_SIZES[kind]
        return np.zeros((*data.shape[:-1], data.shape[-1] // block * size), dtype=np.uint8)


def z_image(
    dtype: str = "BF16", *, prefix: str = "", layers: int = 2, dim: int = 256, flat_pads: bool = False, scales: str = ""
) -> dict[str, tuple[str, Sequence[int]]]:
    """Return ComfyUI's names of a Z-Image transformer. `scales`: suffix of scale tensors, such as `.weight_scale`."""
    other = "F32" if dtype.startswith("F8") else dtype
    pad = [dim] if flat_pads else [1, dim]
    found: dict[str, tuple[str, Sequence[int]]] = {
        "x_pad_token": (other, pad),
        "cap_pad_token": (other, pad),
        "x_embedder.weight": (other, [dim, 64]),
        "x_embedder.bias": (other, [dim]),
        "cap_embedder.0.weight": (other, [256]),
        "cap_embedder.1.weight": (dtype, [dim, 256]),
        "cap_embedder.1.bias": (other, [dim]),
        "t_embedder.mlp.0.weight": (dtype, [dim, 256]),
        "t_embedder.mlp.2.weight": (dtype, [256, dim]),
        "final_layer.linear.weight": (dtype, [64, dim]),
        "final_layer.adaLN_modulation.1.weight": (dtype, [dim, 256]),
        "norm_final.weight": (other, [dim]),
    }
    blocks = [f"layers.{i}" for i in range(layers)]
    blocks += [f"{name}.{i}" for name in ("context_refiner", "noise_refiner") for i in range(2)]
    for block in blocks:
        matrices = {
            "attention.qkv": [3 * dim, dim],
            "attention.out": [dim, dim],
            "feed_forward.w1": [dim * 8 // 3 // 256 * 256, dim],
            "feed_forward.w2": [dim, dim * 8 // 3 // 256 * 256],
            "feed_forward.w3": [dim * 8 // 3 // 256 * 256, dim],
        }
        if not block.startswith("context"):
            matrices["adaLN_modulation.0"] = [4 * dim, 256]
        for name, shape in matrices.items():
            found[f"{block}.{name}.weight"] = (dtype, shape)
            if scales:
                kind, size = ("U8", [40]) if scales == ".comfy_quant" else ("F32", [])
                found[f"{block}.{name}{scales}"] = (kind, size)
        for name in ("attention.q_norm", "attention.k_norm", "attention_norm1", "ffn_norm1"):
            found[f"{block}.{name}.weight"] = (other, [128])
    return {prefix + name: value for name, value in found.items()}


def qwen3(dtype: str = "BF16", *, prefix: str = "model.", width: int = 256) -> dict[str, tuple[str, Sequence[int]]]:
    """Return the names of Qwen3's first layer."""
    layer = f"{prefix}layers.0."
    return {
        f"{prefix}embed_tokens.weight": (dtype, [512, width]),
        f"{layer}self_attn.q_proj.weight": (dtype, [width, width]),
        f"{layer}self_attn.q_norm.weight": (dtype, [128]),
        f"{layer}mlp.gate_proj.weight": (dtype, [2 * width, width]),
        f"{prefix}norm.weight": (dtype, [width]),
    }


def qwen3_gguf(width: int = 256) -> dict[str, tuple[str, Sequence[int]]]:
    """Return llama.cpp's names of Qwen3's first layer."""
    return {
        "token_embd.weight": ("F32", [512, width]),
        "blk.0.attn_q.weight": ("F32", [width, width]),
        "blk.0.attn_q_norm.weight": ("F32", [128]),
        "blk.0.ffn_gate.weight": ("F32", [2 * width, width]),
        "output_norm.weight": ("F32", [width]),
    }


def vae(channels: int, dtype: str = "F32", *, prefix: str = "") -> dict[str, tuple[str, Sequence[int]]]:
    """Return the original code's names of an AutoencoderKL."""
    found: dict[str, tuple[str, Sequence[int]]] = {
        "encoder.conv_in.weight": (dtype, [8, 3, 3, 3]),
        "encoder.down.0.block.0.norm1.weight": (dtype, [8]),
        "decoder.conv_in.weight": (dtype, [8, channels, 3, 3]),
        "decoder.mid.attn_1.q.weight": (dtype, [8, 8, 1, 1]),
    }
    if channels == 4:
        found["post_quant_conv.weight"] = (dtype, [4, 4, 1, 1])
    return {prefix + name: value for name, value in found.items()}


def unet(version: str, dtype: str = "F16", *, channels: int = 4) -> dict[str, tuple[str, Sequence[int]]]:
    """Return the original code's names of a UNet of `sd15`, `sd21` or `sdxl`."""
    found: dict[str, tuple[str, Sequence[int]]] = {
        "time_embed.0.weight": (dtype, [32, 8]),
        "input_blocks.0.0.weight": (dtype, [8, channels, 3, 3]),
        "middle_block.1.norm.weight": (dtype, [8]),
        "out.2.weight": (dtype, [4, 8, 3, 3]),
    }
    if version == "sdxl":
        found["label_emb.0.0.weight"] = (dtype, [32, 16])
        found["input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"] = (dtype, [8, 16])
    else:
        found["input_blocks.1.1.proj_in.weight"] = (dtype, [8, 8] if version == "sd21" else [8, 8, 1, 1])
        found["input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"] = (dtype, [8, 16])
    return {f"model.diffusion_model.{name}": value for name, value in found.items()}


CLIP_PREFIXES = {
    "sd15": "cond_stage_model.transformer.text_model.",
    "sdxl": "conditioner.embedders.0.transformer.text_model.",
}


def checkpoint(version: str, dtype: str = "F16", *, channels: int = 4) -> dict[str, tuple[str, Sequence[int]]]:
    """Return the names of a checkpoint of Stable Diffusion: UNet, text encoders, VAE."""
    found = unet(version, dtype, channels=channels) | vae(4, dtype, prefix="first_stage_model.")
    if version in CLIP_PREFIXES:
        found[CLIP_PREFIXES[version] + "embeddings.token_embedding.weight"] = (dtype, [100, 16])
    if version != "sd15":
        prefix = "cond_stage_model.model." if version == "sd21" else "conditioner.embedders.1.model."
        found[f"{prefix}token_embedding.weight"] = (dtype, [100, 16])
        found[f"{prefix}transformer.resblocks.0.attn.in_proj_weight"] = (dtype, [48, 16])
        found[f"{prefix}ln_final.weight"] = (dtype, [16])
    return found


def lora(*layers: str, layout: str = "PEFT", width: int = 16) -> dict[str, tuple[str, Sequence[int]]]:
    """Return a LoRA's names for some layers in the layout `PEFT` or `kohya`."""
    down, up = ("lora_A.weight", "lora_B.weight") if layout == "PEFT" else ("lora_down.weight", "lora_up.weight")
    found: dict[str, tuple[str, Sequence[int]]] = {}
    for layer in layers:
        found[f"{layer}.{down}"] = ("F16", [4, width])
        found[f"{layer}.{up}"] = ("F16", [width, 4])
        if layout == "kohya":
            found[f"{layer}.alpha"] = ("F32", [])
    return found
