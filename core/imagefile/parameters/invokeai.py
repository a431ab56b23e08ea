"""InvokeAI: `invokeai_metadata`, and `sd-metadata` of its first versions."""

from __future__ import annotations

import re
from typing import Any

from core.imagefile.parameters.found import FoundParameters, load_object
from core.imagefile.parameters.texts import Texts

_MAPPED = frozenset(
    {"positive_prompt", "negative_prompt", "width", "height", "seed", "cfg_scale", "steps", "model", "loras", "strength"}
)
_NEGATIVE = re.compile(r"\[([^\[\]]*)\]")


def read(texts: Texts) -> FoundParameters | None:
    """Return the parameters of InvokeAI's JSON; None when there is none."""
    if (given := load_object(texts.get("invokeai_metadata"))) is not None:
        return _from_metadata(given)
    old = load_object(texts.get("sd-metadata"))
    return _from_old(old) if old is not None and isinstance(old.get("image"), dict) else None


def _from_metadata(given: dict[str, Any]) -> FoundParameters:
    found = FoundParameters("invokeai")
    found.put_text("prompt", given.get("positive_prompt"))
    found.put_text("negative_prompt", given.get("negative_prompt"))
    found.put_size(given.get("width"), given.get("height"))
    found.put_seed(given.get("seed"))
    found.put_steps(given.get("steps"))
    found.put_guidance(given.get("cfg_scale"))
    found.put_model(*_names(given.get("model")))
    loras = given.get("loras")
    for each in loras[:60] if isinstance(loras, list) else ():
        if isinstance(each, dict):
            found.put_lora(next(iter(_names(each.get("model", each.get("lora")))), None), each.get("weight", 1.0))
    if str(given.get("generation_mode", "")).endswith(("img2img", "inpaint", "outpaint")):
        found.put_strength(given.get("strength"))
    found.keep({name: value for name, value in given.items() if name not in _MAPPED})
    return found


def _names(model: object) -> list[object]:
    """Return the names in a model's description, which is an object or, in old files, text."""
    if not isinstance(model, dict):
        return [model]
    return [name for name in (model.get("name"), model.get("model_name"), model.get("key")) if isinstance(name, str)]


def _from_old(given: dict[str, Any]) -> FoundParameters:
    """Read a file of version 2, whose negative prompt is in square brackets inside the prompt."""
    found, image = FoundParameters("invokeai"), given["image"]
    prompts = image.get("prompt")
    if isinstance(prompts, list):
        texts = [each.get("prompt") for each in prompts[:60] if isinstance(each, dict)]
        prompts = " ".join(text for text in texts if isinstance(text, str))
    if isinstance(prompts, str):
        found.put_text("negative_prompt", ", ".join(_NEGATIVE.findall(prompts)))
        found.put_text("prompt", _NEGATIVE.sub("", prompts))
    found.put_size(image.get("width"), image.get("height"))
    found.put_seed(image.get("seed"))
    found.put_steps(image.get("steps"))
    found.put_guidance(image.get("cfg_scale"))
    found.put_model(given.get("model_weights"))
    if image.get("type") == "img2img":
        found.put_strength(image.get("strength"))
    known = ("prompt", "width", "height", "seed", "steps", "cfg_scale", "strength")
    found.keep({name: value for name, value in image.items() if name not in known})
    found.keep({name: given.get(name) for name in ("model_hash", "app_id", "app_version")})
    return found
