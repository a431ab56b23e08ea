"""Tell which models a LoRA fits, by the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.catalogue.catalogue import Architecture
from core.catalogue.weight_headers import TensorInfo

_PARTS = re.compile(r"\.lora_[AB]\.|\.lora_(?:down|up)\.|\.lora\.(?:down|up)\.|\.lora_linear_layer\.|_lora\.(?:down|up)\.")
_OTHER_ADAPTERS = (
    ("hada_w1_a", "a LoHa"),
    ("lokr_w1", "a LoKr"),
    (".oft_", "an OFT adapter"),
    (".boft_", "a BOFT adapter"),
    (".diff_b", "a full-difference adapter"),
    (".on_input", "an IA3 adapter"),
)
_WIDTHS: Mapping[int, Architecture] = {768: "sd15", 1024: "sd21", 2048: "sdxl"}
"""Width of the prompt's embedding, which attn2's keys read."""
_BASE_NAMES: tuple[tuple[str, tuple[Architecture, ...]], ...] = (
    ("zimage", ("z-image",)),
    ("z-image", ("z-image",)),
    ("z_image", ("z-image",)),
    ("sdxl", ("sdxl",)),
    ("stable-diffusion-xl", ("sdxl",)),
    ("sd_v1", ("sd15",)),
    ("stable-diffusion-v1", ("sd15",)),
    ("sd_v2", ("sd21",)),
    ("stable-diffusion-v2", ("sd21",)),
    ("qwen-image", ("qwen-image",)),
    ("qwen_image", ("qwen-image",)),
    ("klein", ("flux2-klein",)),
)
_KLEIN_BLOCKS, _FLUX1_BLOCKS = 5, 19
"""Double blocks of FLUX.2 klein 4B and Flux.1; larger FLUX.2 models have 8, Qwen-Image has 60 of the same names."""
_LUMINA_WIDTH = 2304


@dataclass(frozen=True)
class LoraKind:
    """`layout`: whose names the tensors have. `other`: what it is when it is no LoRA for a model here."""

    layout: str
    architectures: tuple[Architecture, ...] = ()
    other: str = ""


def lora_kind(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, object]) -> LoraKind | None:
    """Return the kind of a LoRA or another adapter; None for files that are none."""
    for part, what in _OTHER_ADAPTERS:
        if any(part in name for name in tensors):
            return LoraKind("", other=f"{what}, not a LoRA")
    if not any(_PARTS.search(name) for name in tensors):
        return None
    names = list(tensors)
    found = _architectures(tensors, metadata)
    other = "" if found else _other_base(names) or "a LoRA for a model that is not known here"
    return LoraKind(_layout(names), found, other)


def _layout(names: list[str]) -> str:
    if any(name.startswith(("lora_unet_", "lora_te", "lora_transformer_")) for name in names):
        return "kohya"
    return "PEFT" if any(".lora_A." in name for name in names) else "diffusers"


def _architectures(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, object]) -> tuple[Architecture, ...]:
    flat = {name.replace(".", "_"): info for name, info in tensors.items()}
    if _has(flat, "layers_0_attention_", "layers_0_feed_forward_", "context_refiner_", "noise_refiner_") or _z_layers(flat):
        widths = {info.shape[1] for name, info in flat.items() if _is_down(name) and len(info.shape) == 2}
        return () if _LUMINA_WIDTH in widths else ("z-image",)
    if _has(flat, "down_blocks_", "up_blocks_", "mid_block_", "input_blocks_", "output_blocks_", "middle_block_"):
        return _stable_diffusion(flat, metadata)
    if _has(flat, "img_mlp_net_", "txt_mlp_net_", "img_mod_1"):
        return ("qwen-image",)
    if _has(flat, "text_model_encoder_layers_") and not _has(flat, "transformer_blocks_"):
        return _stable_diffusion(flat, metadata)
    return _attention_only(flat) or (("flux2-klein",) if _is_klein(flat) else ())


def _has(names: Iterable[str], *parts: str) -> bool:
    return any(part in name for name in names for part in parts)


def _z_layers(names: Iterable[str]) -> bool:
    return any(re.search(r"(?:^|_)layers_\d+_(?:attention|feed_forward|adaLN_modulation)_", name) for name in names)


def _is_down(name: str) -> bool:
    return re.search(r"lora_A_|lora_down_|lora_linear_layer_down_", name) is not None


def _stable_diffusion(flat: Mapping[str, TensorInfo], metadata: Mapping[str, object]) -> tuple[Architecture, ...]:
    if _has(flat, "lora_te2_", "text_encoder_2_", "lora_te1_"):
        return ("sdxl",)
    if stated := _stated(metadata):
        return stated
    for name, info in flat.items():
        if "attn2_to_k" in name and _is_down(name) and len(info.shape) >= 2 and info.shape[1] in _WIDTHS:
            return (_WIDTHS[info.shape[1]],)
    for name, info in flat.items():
        # Text encoder layers: CLIP-L has a width of 768, OpenCLIP-H 1024.
        if "self_attn_q_proj" in name and _is_down(name) and len(info.shape) == 2 and info.shape[1] in (768, 1024):
            return (_WIDTHS[info.shape[1]],)
    if _has(flat, "attentions_0_transformer_blocks_1_", "_1_transformer_blocks_1_", "add_embedding_"):
        return ("sdxl",)
    return ("sd15", "sd21", "sdxl")


def _stated(metadata: Mapping[str, object]) -> tuple[Architecture, ...]:
    """Return the base that the trainer wrote into the file."""
    for key in ("modelspec.architecture", "ss_base_model_version"):
        text = str(metadata.get(key, "")).lower()
        for part, found in _BASE_NAMES:
            if part in text:
                return found
    return ()


def _attention_only(flat: Mapping[str, TensorInfo]) -> tuple[Architecture, ...]:
    """Tell models apart whose double blocks have equal names, when a LoRA has nothing but their attention."""
    blocks = _indices(flat, r"(?<!single_)transformer_blocks_(\d+)_attn_")
    if not blocks or _has(flat, "single_transformer_blocks_", "_ff_", "double_blocks_", "norm1_linear"):
        return ()
    if max(blocks) < _KLEIN_BLOCKS:
        return "flux2-klein", "qwen-image"
    return ("qwen-image",) if max(blocks) >= _FLUX1_BLOCKS else ()


def _indices(names: Iterable[str], pattern: str) -> list[int]:
    return [int(found[1]) for name in names if (found := re.search(pattern, name))]


def _is_klein(flat: Mapping[str, TensorInfo]) -> bool:
    double = _indices(flat, r"(?:double_blocks|(?<!single_)transformer_blocks)_(\d+)_")
    if double and max(double) >= _KLEIN_BLOCKS:
        return False
    if _has(flat, "to_qkv_mlp_proj", "double_stream_modulation", "single_stream_modulation", "ff_context_linear_in"):
        return True
    single = _indices(flat, r"single_(?:transformer_)?blocks_(\d+)_")
    if _has(flat, "proj_mlp", "norm1_linear", "img_mod_lin", "modulation_lin"):
        return False
    return (
        bool(double or single) and max(single, default=0) < 20 and _has(flat, "double_blocks_", "single_blocks_", "_attn_")
    )


def _other_base(names: list[str]) -> str:
    flat = [name.replace(".", "_") for name in names]
    table = (
        (("double_blocks_", "single_transformer_blocks_", "single_blocks_"), "a LoRA for Flux.1 or a larger FLUX.2 model"),
        (("joint_blocks_",), "a LoRA for Stable Diffusion 3"),
        (("cross_attn_", "_self_attn_q_lora"), "a LoRA for a Wan video model"),
        (("layers_",), "a LoRA for Lumina 2 or a language model"),
    )
    return next((what for parts, what in table if _has(flat, *parts)), "")
