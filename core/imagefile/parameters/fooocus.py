"""Fooocus: JSON or A1111-like text, in a PNG's `parameters` or in EXIF, with the scheme's name beside it."""

from __future__ import annotations

import re

from core.imagefile.parameters import a1111
from core.imagefile.parameters.found import FoundParameters, load_object
from core.imagefile.parameters.texts import MAKER_NOTE, USER_COMMENT, Texts

SCHEMES = ("fooocus", "a1111")
_SIZE = re.compile(r"\(?\s*(\d{1,6})\s*[,x×]\s*(\d{1,6})\s*\)?")
_MAPPED = frozenset(
    {"prompt", "negative_prompt", "steps", "guidance_scale", "seed", "resolution", "base_model", "loras", "metadata_scheme"}
)


def read(texts: Texts) -> FoundParameters | None:
    """Return the parameters of an image that names Fooocus's scheme, or whose JSON has its fields."""
    text = texts.get("parameters") or texts.get(USER_COMMENT)
    scheme = texts.get("fooocus_scheme") or texts.get(MAKER_NOTE)
    given = load_object(text)
    if given is not None and (scheme in SCHEMES or {"base_model", "performance"} <= given.keys()):
        return _from_json(given)
    if text and given is None and (texts.get("fooocus_scheme") in SCHEMES or "Version: Fooocus" in text):
        return a1111.from_text(text, "fooocus")
    return None


def _from_json(given: dict[str, object]) -> FoundParameters:
    found = FoundParameters("fooocus")
    found.put_text("prompt", given.get("prompt"))
    found.put_text("negative_prompt", given.get("negative_prompt"))
    found.put_steps(given.get("steps"))
    found.put_guidance(given.get("guidance_scale"))
    found.put_seed(given.get("seed"))
    if size := _SIZE.fullmatch(str(given.get("resolution", ""))[:40]):
        found.put_size(size[1], size[2])
    found.put_model(given.get("base_model"))
    loras = given.get("loras")
    for each in loras[:60] if isinstance(loras, list) else ():
        if isinstance(each, list) and len(each) >= 2:
            found.put_lora(each[0], each[1], each[2] if len(each) > 2 else "")
    if given.get("styles") not in (None, "", "[]", []):
        found.warnings.append("Fooocus added styles to the prompt; the whole text is `full_prompt` in `unmapped`.")
    found.keep({name: value for name, value in given.items() if name not in _MAPPED})
    return found
