"""Tiny Z-Image components written as people publish them: GGUF of every type, fp8 plain and scaled, llama.cpp's Qwen3."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import save_file

from core.catalogue.weight_file import WeightFile
from worker.memory.stored_sizes import BLOCKS

State = dict[str, torch.Tensor]
SCALE_OFFSETS = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
"""Where a block of a K type keeps its half-precision factors; the GGUF package can read these types, but not write them."""
FACTOR = {"Q2_K": 1e-3, "Q3_K": 3e-4, "Q4_K": 4e-5, "Q5_K": 2e-5, "Q6_K": 2e-5}


def weight_file(path: Path, precision: str, component: str = "transformer") -> WeightFile:
    """Return what the recogniser would."""
    container = "gguf" if path.suffix == ".gguf" else "safetensors"
    return WeightFile(
        path, "component", container, ("z-image",), (component,), precision, path.stat().st_size, ""  # type: ignore[arg-type]
    )  # fmt: skip


def published_transformer(state: Mapping[str, torch.Tensor]) -> State:
    """Return Z-Image's published names: those of diffusers are converted from them."""
    found: State = {}
    for name, tensor in state.items():
        own = name.replace("all_final_layer.2-1.", "final_layer.").replace("all_x_embedder.2-1.", "x_embedder.")
        own = own.replace(".attention.to_out.0.", ".attention.out.").replace(".attention.norm_q.", ".attention.q_norm.")
        own = own.replace(".attention.norm_k.", ".attention.k_norm.")
        if ".attention.to_q." in name:
            parts = [state[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            found[own.replace("to_q", "qkv")] = torch.cat(parts)
        elif ".attention.to_k." not in name and ".attention.to_v." not in name:
            found[own] = tensor
    return found


LLAMA_PARTS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def llama_text_encoder(state: Mapping[str, torch.Tensor]) -> State:
    """Return llama.cpp's names."""
    found = {"token_embd.weight": state["embed_tokens.weight"], "output_norm.weight": state["norm.weight"]}
    for name, tensor in state.items():
        if match := re.fullmatch(r"layers\.(\d+)\.(.+)\.weight", name):
            found[f"blk.{match[1]}.{LLAMA_PARTS[match[2]]}.weight"] = tensor
    return found


def write_gguf(
    path: Path,
    state: Mapping[str, torch.Tensor],
    kind_of: Callable[[str, torch.Tensor], str],
    architecture: str = "lumina2",
    values: Mapping[str, int | float] | None = None,
) -> Path:
    """Write a GGUF file; `kind_of` names each tensor's type."""
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, value in (values or {}).items():
        if isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_float32(key, value)
    if architecture == "qwen3":
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list([f"token {index}" for index in range(300)])
    for name, tensor in state.items():
        kind = kind_of(name, tensor)
        writer.add_tensor(name, _encoded(tensor.float().numpy(), kind), raw_dtype=Kind[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _encoded(values: np.ndarray, kind: str) -> np.ndarray:
    if kind in SCALE_OFFSETS:
        return _random_blocks(values.shape, kind)
    if kind == "BF16":
        return gguf.quants.quantize(values, Kind.BF16)
    if kind in ("F32", "F16"):
        return values.astype(np.float32 if kind == "F32" else np.float16)
    return gguf.quants.quantize(values, Kind[kind])


def _random_blocks(shape: tuple[int, ...], kind: str) -> np.ndarray:
    elements, size = BLOCKS[kind]
    random = np.random.default_rng(sum(shape))
    blocks = random.integers(0, 256, (*shape[:-1], shape[-1] // elements, size), dtype=np.uint8)
    factor = np.array([FACTOR[kind]], dtype=np.float16).view(np.uint8)
    for begin in SCALE_OFFSETS[kind]:
        blocks[..., begin : begin + 2] = factor
    return blocks.reshape(*shape[:-1], -1)


def mostly(kind: str) -> Callable[[str, torch.Tensor], str]:
    """Return that type for matrices whose rows hold whole blocks, else Q8_0 or F16; F32 for the rest, as converters do."""

    def kind_of(name: str, tensor: torch.Tensor) -> str:
        if tensor.ndim < 2 or "pad_token" in name:
            return "F32"
        fitting = (each for each in (kind, "Q8_0", "F16") if tensor.shape[-1] % BLOCKS[each][0] == 0)
        return next(fitting)

    return kind_of


def plain_fp8(state: Mapping[str, torch.Tensor], keep: Callable[[str], bool], dtype: torch.dtype) -> State:
    """Return the state in fp8, apart from names to keep, which are bf16."""
    return {name: tensor.to(torch.bfloat16 if keep(name) else dtype).contiguous() for name, tensor in state.items()}


def scaled_fp8(state: Mapping[str, torch.Tensor], older: bool = False, by_rows: bool = False) -> State:
    """Return ComfyUI's scaled fp8: matrices of the blocks with a scale each, in the newer or the older names."""
    found: State = {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)} if older else {}
    for name, tensor in state.items():
        if tensor.ndim < 2 or "pad_token" in name or "embed" in name or "final" in name:
            found[name] = tensor.to(torch.bfloat16)
            continue
        layer = name.removesuffix(".weight")
        peak = tensor.abs().amax(dim=1, keepdim=True) if by_rows else tensor.abs().max()
        scale = peak.float() / 448  # Not a number of bf16: a scale that is rounded would show.
        found[name] = (tensor / scale).to(torch.float8_e4m3fn)
        found[f"{layer}.{'scale_weight' if older else 'weight_scale'}"] = scale
        found[f"{layer}.{'scale_input' if older else 'input_scale'}"] = torch.tensor(1.0)
        if not older:
            found[f"{layer}.comfy_quant"] = comfy_quant("float8_e4m3fn")
    return found


def comfy_quant(form: str) -> torch.Tensor:
    """Return ComfyUI's mark of a quantised layer."""
    return torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)


def write_safetensors(path: Path, state: State) -> Path:
    """Write a safetensors file."""
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, str(path))
    return path
