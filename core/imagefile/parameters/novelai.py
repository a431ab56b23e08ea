"""NovelAI: JSON in `Comment`, the prompt in `Description`. Its copy in the lowest bits of alpha is not read."""

from __future__ import annotations

from typing import Any

from core.imagefile.parameters.found import FoundParameters, load_object
from core.imagefile.parameters.texts import Texts

_MAPPED = frozenset({"prompt", "uc", "steps", "height", "width", "scale", "seed", "strength"})


def read(texts: Texts) -> FoundParameters | None:
    """Return the parameters of an image of NovelAI; None for any other."""
    given = load_object(texts.get("Comment") or texts.get("comment"))
    if given is None or not (texts.get("Software") == "NovelAI" or {"uc", "scale"} <= given.keys()):
        return None
    found = FoundParameters("novelai")
    found.put_text("prompt", given.get("prompt") or texts.get("Description"))
    found.put_text("negative_prompt", given.get("uc"))
    found.put_steps(given.get("steps"))
    found.put_guidance(given.get("scale"))
    found.put_seed(given.get("seed"))
    found.put_size(given.get("width"), given.get("height"))
    found.put_model(texts.get("Source"))
    if "strength" in given and str(given.get("request_type", "")).startswith(("Img2Img", "Native")):
        found.put_strength(given.get("strength"))
    if characters := _characters(given):
        found.keep({"characters": characters})
        found.warnings.append("Prompts for single characters have no field here; they are in `unmapped`.")
    found.keep({name: value for name, value in given.items() if name not in _MAPPED and not name.startswith("v4_")})
    return found


def _characters(given: dict[str, Any]) -> list[Any]:
    """Return the prompts of characters of version 4."""
    prompt = given.get("v4_prompt")
    caption = prompt.get("caption") if isinstance(prompt, dict) else None
    characters = caption.get("char_captions") if isinstance(caption, dict) else None
    return characters if isinstance(characters, list) else []
