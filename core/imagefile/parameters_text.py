"""Write and parse the `parameters` text of AUTOMATIC1111's web UI, which many tools read.

    a cat
    Negative prompt: blurry
    Steps: 8, Sampler: Euler, CFG scale: 1, Seed: 7, Size: 512x512, Model: demo

The last line counts as settings only if it has three pairs or more. A value with a comma, colon, quote or newline is
written as a JSON string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

from core.imagefile.metadata import ImageMetadata, Parameters

SAMPLERS: dict[str, tuple[str, str | None]] = {
    "FlowMatchEulerDiscreteScheduler": ("Euler", "Simple"),
    "EulerDiscreteScheduler": ("Euler", None),
    "EulerAncestralDiscreteScheduler": ("Euler a", None),
    "DPMSolverMultistepScheduler": ("DPM++ 2M", None),
    "DDIMScheduler": ("DDIM", None),
    "LCMScheduler": ("LCM", None),
    "PNDMScheduler": ("PLMS", None),
    "UniPCMultistepScheduler": ("UniPC", None),
}
"""diffusers' scheduler class -> A1111's sampler and schedule type; other schedulers keep their class name."""

_NEGATIVE = "Negative prompt:"
_PAIR = re.compile(r'(\w[\w \-/]{0,63}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_MAX_SETTINGS_LENGTH = 16_384
_MIN_PAIRS = 3

T = TypeVar("T")


def format_parameters(metadata: ImageMetadata) -> str:
    """Format the text for one image. NUL characters, which end strings in files, become U+FFFD."""
    lines = [" ".join([metadata.prompt.strip(), *_tags(metadata)]).strip()]
    if metadata.negative_prompt.strip():
        lines.append(f"{_NEGATIVE} {metadata.negative_prompt.strip()}")
    lines.append(", ".join(f"{key}: {_quote(_without_nul(value))}" for key, value in _pairs(metadata) if value))
    return _without_nul("\n".join(lines))


def parse_parameters(text: str) -> Parameters:
    """Parse any tool's text; a last line that cannot be read as settings belongs to the prompt."""
    *lines, last = text.replace("\r\n", "\n").strip().split("\n")
    pairs = _PAIR.findall(last) if len(last) <= _MAX_SETTINGS_LENGTH else []
    if len(pairs) < _MIN_PAIRS:
        lines, pairs = [*lines, last], []
    prompt, negative = _split_prompts([line.strip() for line in lines])
    settings = {key.strip(): _unquote(value.strip()) for key, value in pairs}
    return _typed(Parameters(prompt=prompt, negative_prompt=negative, settings=settings))


def _pairs(metadata: ImageMetadata) -> list[tuple[str, str]]:
    sampler, schedule = SAMPLERS.get(metadata.scheduler or "", (metadata.scheduler or "", None))
    upscaled = [
        ("Size", f"{metadata.width}x{metadata.height}"),
        ("Postprocess upscale by", str(metadata.upscale or "")),
        ("Postprocess upscaler", (metadata.upscaler or "") if metadata.upscale else ""),
        ("Version", f"imagefarm {metadata.farm_version}" if metadata.farm_version else "imagefarm"),
    ]
    if not metadata.num_inference_steps:
        return upscaled  # An image from elsewhere, of which no settings are known.
    return [
        ("Steps", str(metadata.num_inference_steps)),
        ("Sampler", sampler),
        ("Schedule type", schedule or ""),
        ("CFG scale", f"{metadata.guidance_scale:g}"),
        ("Seed", str(metadata.seed)),
        ("Variation seed", str(metadata.variation_seed) if metadata.variation_strength else ""),
        ("Variation seed strength", f"{metadata.variation_strength:g}" if metadata.variation_strength else ""),
        upscaled[0],
        ("Model", metadata.model),
        ("Denoising strength", "" if metadata.strength is None else f"{metadata.strength:g}"),
        ("Start sigma", "" if metadata.start_sigma is None else f"{metadata.start_sigma:g}"),
        ("Lora hashes", _lora_hashes(metadata)),
        *upscaled[1:],
    ]


def _tags(metadata: ImageMetadata) -> list[str]:
    """Return the LoRAs as A1111 writes them into the prompt, without names that such a tag cannot hold."""
    return [f"<lora:{lora.name}:{lora.scale:g}>" for lora in metadata.loras if not re.search(r"[<>:\r\n]", lora.name)]


def _lora_hashes(metadata: ImageMetadata) -> str:
    hashes = metadata.record.lora_hashes if metadata.record else {}
    return ", ".join(f"{lora.name}: {hashes[lora.name]}" for lora in metadata.loras if lora.name in hashes)


def _without_nul(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _quote(value: str) -> str:
    plain = value == value.strip() and not re.search(r'[,:"\n\r]', value)
    return value if plain else json.dumps(value, ensure_ascii=False)


def _unquote(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _split_prompts(lines: list[str]) -> tuple[str, str]:
    """Split at the first line that starts with `Negative prompt:`; the rest is the negative prompt."""
    for number, line in enumerate(lines):
        if line.startswith(_NEGATIVE):
            negative = [line.removeprefix(_NEGATIVE).strip(), *lines[number + 1 :]]
            return "\n".join(lines[:number]), "\n".join(negative)
    return "\n".join(lines), ""


def _typed(parameters: Parameters) -> Parameters:
    found = parameters.settings
    size = _SIZE.fullmatch(found.get("Size", ""))
    return parameters.model_copy(
        update={
            "seed": _number(int, found.get("Seed")),
            "num_inference_steps": _number(int, found.get("Steps")),
            "guidance_scale": _number(float, found.get("CFG scale")),
            "strength": _number(float, found.get("Denoising strength")),
            "start_sigma": _number(float, found.get("Start sigma")),
            "variation_seed": _number(int, found.get("Variation seed")),
            "variation_strength": _number(float, found.get("Variation seed strength")),
            "width": int(size[1]) if size else None,
            "height": int(size[2]) if size else None,
            "model": found.get("Model"),
        }
    )


def _number(kind: Callable[[str], T], text: str | None) -> T | None:
    try:
        return kind(text) if text else None
    except ValueError:
        return None
