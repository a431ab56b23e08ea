"""What a LoRA file says about itself in its header: family, layers, trigger words, base, hash."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.catalogue.catalogue import Architecture
from core.catalogue.weight_damage import damage_of
from core.catalogue.weight_headers import TensorInfo, safetensors_header

KeyStyle = Literal["kohya", "peft", "diffusers", "comfyui", "lycoris", ""]

OF_LAYER = re.compile(
    r"(?P<layer>.+?)[._](?:"
    r"lora_(?:A|B|down|up|mid|magnitude_vector|linear_layer)|lora\.(?:down|up)|lokr_\w+|hada_\w+|dora_scale|alpha"
    r")(?:\..*)?"
)
"""A tensor's name: its layer, and which part of the adapter of that layer it is."""

SHORT_HASH = 12
"""Digits of the short hash that A1111 and Civitai show: of the SHA-256 of the tensors, without the header."""
MAX_TEXT = 300
_MAX_TRIGGERS = 8

_N = r"[._]\d+[._]"
_SD = re.compile(r"(?:down_blocks|up_blocks|input_blocks|output_blocks)" + _N + r"|(?:mid_block|middle_block)[._]")
_SD_TEXT = re.compile(r"^(?:lora_te_|text_encoder\.)")
_XL_TEXT = re.compile(r"^(?:lora_te[12]_|text_encoder_2\.)")
_CROSS = re.compile(r"attn2[._](?:processor[._])?to_[kv](?:_lora)?[._](?:lora_A|lora_down|lora\.down|down|hada_w1_b)")
_CROSS_SIZES: Mapping[int, Architecture] = {768: "sd15", 1024: "sd21", 2048: "sdxl"}
_Z_IMAGE = re.compile(
    r"(?:^|[._])(?:layers|noise_refiner|context_refiner)" + _N + r"(?:attention|feed_forward|adaLN_modulation)[._]"
)
_QWEN = re.compile(r"transformer_blocks" + _N + r"(?:img|txt)_(?:mlp|mod)[._]")
_FLUX_2 = re.compile(
    r"to_qkv_mlp_proj|(?:double|single)_stream_modulation|transformer_blocks" + _N + r"ff(?:_context)?[._]linear_"
)
_FLUX_1 = re.compile(
    r"single_transformer_blocks" + _N + r"(?:proj_mlp|attn[._]to_[qkv]|norm[._]linear)|blocks" + _N + "img_mod"
)
_FLUX_BLOCK = re.compile(r"(?P<kind>double|single)_blocks[._](?P<index>\d+)[._]")
_DOUBLE_STREAM = re.compile(
    r"(?<!single_)transformer_blocks" + _N + r"attn[._](?:to_[qkv]|add_[qkv]_proj|to_out|to_add_out)"
)
_FLUX_2_BLOCKS: Mapping[str, int] = {"double": 8, "single": 24}
"""Most blocks of a FLUX.2 klein; FLUX.1 has 19 and 38."""
_OTHERS: Mapping[str, re.Pattern[str]] = {
    "FLUX.1": _FLUX_1,
    "Stable Diffusion 3": re.compile(r"joint_blocks" + _N),
    "Wan": re.compile(r"(?:^|[._])blocks" + _N + r"(?:self_attn|cross_attn|ffn)[._]"),
}
FAMILY_NAMES: Mapping[Architecture, str] = {
    "z-image": "Z-Image",
    "sd15": "Stable Diffusion 1.5",
    "sd21": "Stable Diffusion 2.x",
    "sdxl": "SDXL",
    "flux2-klein": "FLUX.2 klein",
    "qwen-image": "Qwen-Image",
}


@dataclass(frozen=True)
class LoraFacts:
    """`architectures`: what it can belong to; empty when the keys do not tell. `problem`: why it cannot be used, or "".

    `stored_hash`: the short hash that its trainer wrote into it, or "".
    """

    architectures: tuple[Architecture, ...] = ()
    key_style: KeyStyle = ""
    layers: int = 0
    title: str = ""
    base: str = ""
    trigger_words: tuple[str, ...] = ()
    stored_hash: str = ""
    problem: str = ""


def read_facts(file: Path) -> LoraFacts:
    """Read a file's header; a file that cannot be used has its reason in `problem`."""
    if file.suffix != ".safetensors":
        return LoraFacts(problem="is no safetensors file: files of other kinds can hold programs, so convert it")
    try:
        header = safetensors_header(file)
    except (OSError, ValueError):
        # Its error also says what else the file may be, such as a saved web page.
        return LoraFacts(problem=damage_of(file) or "has a damaged header: download it again")
    tensors, metadata = header.tensors, header.metadata
    layers = {match["layer"] for name in tensors if (match := OF_LAYER.fullmatch(name))}
    if not layers:
        return LoraFacts(problem="holds no LoRA layers")
    architectures, problem = _architectures(tensors, metadata)
    return LoraFacts(
        architectures=architectures,
        key_style=_key_style(tensors),
        layers=len(layers),
        title=_text(metadata, "modelspec.title") or _text(metadata, "ss_output_name"),
        base=_base(metadata),
        trigger_words=_trigger_words(metadata),
        stored_hash=_stored_hash(metadata),
        problem=problem,
    )


def _architectures(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, Any]) -> tuple[tuple[Architecture, ...], str]:
    """Return what the keys belong to; the metadata decides only where they leave a choice."""
    names = list(tensors)
    if any(map(_Z_IMAGE.search, names)):
        return ("z-image",), ""
    if any(map(_QWEN.search, names)):
        return ("qwen-image",), ""
    if any(map(_FLUX_2.search, names)) or _is_flux_2_by_blocks(names):
        return ("flux2-klein",), ""
    for label, pattern in _OTHERS.items():
        if any(map(pattern.search, names)) or (label == "FLUX.1" and any(map(_FLUX_BLOCK.search, names))):
            return (), f"is a LoRA for {label}; supported are {', '.join(FAMILY_NAMES.values())}"
    if any(map(_DOUBLE_STREAM.search, names)):
        return _narrowed(("flux2-klein", "qwen-image"), metadata), ""
    return _narrowed(_stable_diffusion(tensors), metadata), ""


def _is_flux_2_by_blocks(names: Iterable[str]) -> bool:
    found = [match for match in map(_FLUX_BLOCK.search, names) if match]
    is_small = all(int(match["index"]) < _FLUX_2_BLOCKS[match["kind"]] for match in found)
    return bool(found) and is_small and not any("img_mod" in name for name in names)


def _stable_diffusion(tensors: Mapping[str, TensorInfo]) -> tuple[Architecture, ...]:
    """Return the Stable Diffusions that fit, by the width of the text that the cross attention reads."""
    if any(map(_XL_TEXT.search, tensors)):
        return ("sdxl",)
    widths = {info.shape[1] for name, info in tensors.items() if _CROSS.search(name) and len(info.shape) > 1}
    known = {_CROSS_SIZES[width] for width in widths if width in _CROSS_SIZES}
    if len(known) == 1:
        return (known.pop(),)
    if any(name.startswith("lora_te_") for name in tensors):
        return ("sd15", "sd21")
    if any(_SD.search(name) or _SD_TEXT.search(name) for name in tensors):
        return ("sd15", "sd21", "sdxl")
    return ()


_BY_METADATA: tuple[tuple[Architecture, re.Pattern[str]], ...] = (
    ("sdxl", re.compile(r"sdxl|stable-diffusion-xl")),
    ("sd15", re.compile(r"^sd_v1|stable-diffusion-v1")),
    ("sd21", re.compile(r"^sd_v2|stable-diffusion-v2")),
    ("qwen-image", re.compile(r"qwen")),
    ("flux2-klein", re.compile(r"flux-?_?2|klein")),
)


def _narrowed(found: tuple[Architecture, ...], metadata: Mapping[str, Any]) -> tuple[Architecture, ...]:
    """Choose among several by what the trainer wrote; metadata that contradicts the keys is ignored."""
    told = f"{_text(metadata, 'ss_base_model_version')} {_text(metadata, 'modelspec.architecture')}".strip().lower()
    named = next((architecture for architecture, pattern in _BY_METADATA if told and pattern.search(told)), None)
    return (named,) if named in found and named is not None else found


def _key_style(names: Iterable[str]) -> KeyStyle:
    keys = list(names)
    if any("lokr_" in key or "hada_" in key for key in keys):
        return "lycoris"
    if any(key.startswith(("lora_unet_", "lora_te", "lora_transformer_")) for key in keys):
        return "kohya"
    if any(key.startswith("diffusion_model.") for key in keys):
        return "comfyui"
    if any(key.startswith(("unet.", "transformer.", "text_encoder")) for key in keys):
        return "diffusers"
    return "peft"


def _text(metadata: Mapping[str, Any], name: str) -> str:
    """Return a text of the metadata in one line; trainers write `None` for what they do not know."""
    value = metadata.get(name)
    text = " ".join(value.split())[:MAX_TEXT] if isinstance(value, str) else ""
    return "" if text in ("None", "null") else text.replace("\0", "")


def _base(metadata: Mapping[str, Any]) -> str:
    version = _text(metadata, "ss_base_model_version") or _text(metadata, "modelspec.architecture")
    trained_on = re.split(r"[\\/]", _text(metadata, "ss_sd_model_name"))[-1]
    return f"{version} ({trained_on})" if version and trained_on else version or trained_on


def _trigger_words(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the trigger phrase, else the tags that were on the most training images."""
    if phrase := _text(metadata, "modelspec.trigger_phrase"):
        return tuple(word for part in phrase.split(",") if (word := part.strip()))[:_MAX_TRIGGERS]
    try:
        folders = json.loads(metadata.get("ss_tag_frequency") or "{}")
        counts: Counter[str] = Counter()
        for tags in folders.values():
            counts.update({str(tag).strip(): int(count) for tag, count in tags.items()})
    except (ValueError, TypeError, AttributeError):
        return ()
    most = max(counts.values(), default=0)
    found = [tag for tag, count in counts.items() if count == most and most > 1 and 0 < len(tag) <= 100]
    return tuple(found[:_MAX_TRIGGERS])


def _stored_hash(metadata: Mapping[str, Any]) -> str:
    """Return the short form of the hash of the tensors that kohya's trainer stores, as A1111 takes it."""
    stored = _text(metadata, "sshs_model_hash").lower()
    return stored[:SHORT_HASH] if re.fullmatch(r"[0-9a-f]{64}", stored) else ""
