"""AUTOMATIC1111's text and those like it (Forge, SD.Next), in a PNG's `parameters` or in EXIF; Civitai's additions too."""

from __future__ import annotations

import json
import re
from typing import Any

from core.imagefile.parameters.found import FoundParameters, clean, load_object, number
from core.imagefile.parameters.texts import USER_COMMENT, Texts
from core.imagefile.parameters_text import parse_parameters

_MAPPED = ("Steps", "CFG scale", "Seed", "Size", "Model", "Model hash", "Lora hashes", "Denoising strength", "Hashes")
_LORA_TAG = re.compile(r"<(?:lora|lyco):([^<>:]{1,300})(?::([^<>:]{0,40}))?[^<>]{0,200}>", re.IGNORECASE)
_JSON_SETTING = re.compile(r"(?:^|, )([A-Z][\w \-/]{0,63}): (?=[\[{])", re.MULTILINE)
_MAX_JSON_SETTINGS = 20
CIVITAI = "Civitai resources"


def read(texts: Texts) -> FoundParameters | None:
    """Return the parameters of A1111's text; None when there is none with settings."""
    text = texts.get("parameters") or texts.get(USER_COMMENT) or texts.get("exif:ImageDescription") or ""
    return None if text.lstrip().startswith("{") else from_text(text)


def from_text(text: str, source: str = "a1111") -> FoundParameters | None:
    """Return the parameters of a text; None unless it has settings as A1111 writes them."""
    text, values = without_json(clean(text))
    parsed = parse_parameters(text)
    settings: dict[str, Any] = dict(parsed.settings) | values
    if not settings.keys() & {"Steps", "Seed"}:
        return None  # Cameras and scanners write comments too.
    found = FoundParameters("civitai" if CIVITAI in settings else source)
    hashes = _lora_hashes(settings)
    for name in ("prompt", "negative_prompt"):
        found.put_text(name, take_loras(getattr(parsed, name), found, hashes))
    found.put_seed(parsed.seed)
    found.put_steps(parsed.num_inference_steps)
    found.put_guidance(parsed.guidance_scale)
    found.put_size(parsed.width, parsed.height)
    found.put_model(parsed.model)
    _resources(settings.pop(CIVITAI, None), found)
    if any(name.startswith("Hires ") for name in settings):
        found.keep({"Denoising strength": settings.get("Denoising strength")})
        found.warnings.append("This image was enlarged by a second pass (Hires fix); the fields are those of the first.")
    else:
        found.put_strength(parsed.strength)
    found.keep({name: value for name, value in settings.items() if name not in _MAPPED})
    if parsed.model is not None or settings.get("Model hash"):
        found.keep({"Model hash": settings.get("Model hash")})
    return found


def without_json(text: str) -> tuple[str, dict[str, Any]]:
    """Take settings whose values are JSON, with commas of their own, out of a text."""
    values: dict[str, Any] = {}
    decoder, position = json.JSONDecoder(parse_constant=lambda _: None), 0
    for _ in range(_MAX_JSON_SETTINGS):
        match = _JSON_SETTING.search(text, position)
        if match is None:
            break
        try:
            value, end = decoder.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            position = match.end()
            continue
        values[match[1]] = value
        text, position = text[: match.start()] + text[end:], match.start()
    return text, values


def take_loras(prompt: str, found: FoundParameters, hashes: dict[str, str]) -> str:
    """Return the prompt without its LoRA tags, which are added to what was found."""
    for name, scale in _LORA_TAG.findall(prompt):
        found.put_lora(name, 1.0 if number(scale) is None else scale, hashes.get(name.strip(), ""))
    return re.sub(r"(?:,\s*){2,}", ", ", _LORA_TAG.sub("", prompt)).strip(" ,\n")


def _lora_hashes(settings: dict[str, Any]) -> dict[str, str]:
    """Return LoRA -> hash from `name: hash, name: hash`, or from the object that the Civitai extension writes."""
    found = {}
    for pair in str(settings.get("Lora hashes", "")).split(",")[:100]:
        name, _, digest = pair.rpartition(":")
        found[name.strip()] = digest.strip()
    given = settings.get("Hashes")
    given = load_object(given) if isinstance(given, str) else given
    if isinstance(given, dict):
        found |= {name[5:]: str(digest) for name, digest in given.items() if name.lower().startswith("lora:")}
    return found


def _resources(resources: object, found: FoundParameters) -> None:
    """Take model and LoRAs from Civitai's list."""
    kept = []
    for each in resources[:100] if isinstance(resources, list) else ():
        if not isinstance(each, dict):
            continue
        kind, name = str(each.get("type", "")).lower(), each.get("modelName")
        if kind in ("checkpoint", "model"):
            found.put_model(name)
        elif kind in ("lora", "lycoris", "dora", "locon"):
            found.put_lora(name, each.get("weight", 1.0))
        kept.append(each)
    found.keep({CIVITAI: kept})
