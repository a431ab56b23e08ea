"""What was found in an image, by the farm's names; values of other programs are checked and bounded here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.render import MAX_SEED

MAX_JSON_CHARS = 2**20
_MAX_SIDE, _MAX_STEPS, _MAX_GUIDANCE = 65_536, 10_000, 1000.0
_MAX_TEXT, _MAX_ITEMS, _MAX_DEPTH, _MAX_KEY = 2000, 60, 4, 100
_MAX_MODEL_NAMES = 20
"""Each is compared with every model of the farm."""
_EXACT = 2**53
"""JSON readers keep whole numbers below this exactly."""
_WHOLE = re.compile(r"\s*[+-]?\d{1,20}(?:\.0+)?\s*")
_NAME_SUFFIX = re.compile(r"\.(?:safetensors|ckpt|pt|pth|bin|gguf|sft)$", re.IGNORECASE)
_WEIGHTED = re.compile(r"\([^()]{1,200}:\s*\d+(?:\.\d+)?\s*\)")


@dataclass(frozen=True)
class FoundLora:
    """A LoRA as the image names it: a file name without folder and suffix, and the short hash if there is one."""

    name: str
    scale: float = 1.0
    hash: str = ""


@dataclass
class FoundParameters:
    """What an image says. `fields`: by the names of a job's fields; `unmapped`: what has none, by the program's names.

    `model_names`: what the image calls its model, the most exact name first.
    """

    source: str
    fields: dict[str, Any] = field(default_factory=dict)
    model_names: list[str] = field(default_factory=list)
    loras: list[FoundLora] = field(default_factory=list)
    unmapped: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def put_text(self, name: str, value: object) -> None:
        """Set `prompt` or `negative_prompt`; anything but text is ignored."""
        if isinstance(value, str) and (text := clean(value).strip()):
            self.fields[name] = text

    def put_size(self, width: object, height: object) -> None:
        """Set both sides in pixels, or neither."""
        sides = whole(width), whole(height)
        if all(side is not None and 1 <= side <= _MAX_SIDE for side in sides):
            self.fields["width"], self.fields["height"] = sides

    def put_steps(self, value: object) -> None:
        """Set the number of steps."""
        steps = whole(value)
        if steps is not None and 1 <= steps <= _MAX_STEPS:
            self.fields["num_inference_steps"] = steps

    def put_guidance(self, value: object) -> None:
        """Set the conventional guidance scale (1.0 is off)."""
        scale = number(value)
        if scale is not None and 0 <= scale <= _MAX_GUIDANCE:
            self.fields["guidance_scale"] = scale

    def put_seed(self, value: object) -> None:
        """Set the seed; one that is too large for the farm stays unmapped, with a warning."""
        seed = whole(value)
        if seed is None:
            return
        if 0 <= seed <= MAX_SEED:
            self.fields["seed"] = seed
            return
        self.unmapped["seed"] = str(seed)
        self.warnings.append(f"The seed {seed} is not one of the farm's, which are 0 to {MAX_SEED}: another one is drawn.")

    def put_strength(self, value: object) -> None:
        """Note the strength of image-to-image, which a job takes only with the image that it starts from."""
        strength = number(value)
        if strength is None or not 0 < strength < 1:
            return
        self.unmapped["strength"] = strength
        self.warnings.append(
            f"This image started from another one, which is not in the file: to repeat it, upload that image and send "
            f"its id as init_image, with strength {strength:g}."
        )

    def put_model(self, *names: object) -> None:
        """Add names of the model: files, titles or ids."""
        for name in names:
            if len(self.model_names) >= _MAX_MODEL_NAMES:
                return
            if isinstance(name, str) and name.strip() and name.strip().lower() != "none":
                self.model_names.append(clean(name).strip()[:300])

    def put_lora(self, name: object, scale: object = 1.0, hash: object = "") -> None:
        """Add a LoRA by the name of its file."""
        if not isinstance(name, str) or not (stem := stem_of(name)) or stem.lower() == "none":
            return
        value = number(scale)
        found = FoundLora(stem, 1.0 if value is None else value, hash if isinstance(hash, str) else "")
        if len(self.loras) < _MAX_ITEMS and all(each.name != stem for each in self.loras):
            self.loras.append(found)

    def keep(self, values: Mapping[Any, Any]) -> None:
        """Add values without a field of their own to `unmapped`, cut to a bounded size; empty ones are left out."""
        for name, value in values.items():
            if len(self.unmapped) >= _MAX_ITEMS:
                return
            kept = plain(value)
            if kept not in (None, "", [], {}):
                self.unmapped[clean(str(name))[:_MAX_KEY]] = kept

    def note_foreign(self) -> None:
        """Add what is to be known about images of other programs."""
        if any(_WEIGHTED.search(str(self.fields.get(name, ""))) for name in ("prompt", "negative_prompt")):
            self.warnings.append("The prompt has weights such as (word:1.2): here they are plain text.")
        self.warnings.append("The same seed gives another image here: each program draws its noise in its own way.")


def clean(text: str) -> str:
    """Replace what neither a database nor UTF-8 can store: NUL and halves of surrogate pairs."""
    return (
        text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def stem_of(name: str) -> str:
    """Return a file's name without its folders, of Windows too, and without the suffix of weight files."""
    last = re.split(r"[\\/]", clean(name).strip())[-1]
    return _NAME_SUFFIX.sub("", last)[:200]


def whole(value: object) -> int | None:
    """Return a whole number, also from text and from floats such as 30.0; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(value.strip().partition(".")[0]) if _WHOLE.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**63 else None
    return value if isinstance(value, int) and abs(value) < 2**70 else None


def number(value: object) -> float | None:
    """Return a finite number, also from text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def load_json(text: object) -> Any:  # noqa: ANN401 -- any JSON value
    """Return the value of a JSON text; None when it is none, too long or too deep."""
    if not isinstance(text, str) or len(text) > MAX_JSON_CHARS:
        return None
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def load_object(text: object) -> dict[str, Any] | None:
    """Return a JSON object; None when the text holds none."""
    found = load_json(text)
    return found if isinstance(found, dict) else None


def plain(value: object, depth: int = 0) -> Any:  # noqa: ANN401 -- any JSON value
    """Return a copy of a JSON value of bounded size, without what cannot be stored."""
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [plain(each, depth + 1) for each in value[:_MAX_ITEMS]]
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        kept = list(value.items())[:_MAX_ITEMS]
        return {clean(str(name)[:_MAX_KEY]): plain(each, depth + 1) for name, each in kept}
    return _scalar(value)


def _scalar(value: object) -> str | int | float | bool | None:
    if isinstance(value, str):
        return clean(value[:_MAX_TEXT])
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _EXACT:
        return str(value) if abs(value) < _EXACT**4 else None
    return value if isinstance(value, int | bool) else None
