"""Apply styles by A1111's rules, and the styles that every farm has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from core.errors import InvalidInput

PLACE = "{prompt}"
"""Where a style's text takes the prompt in; a text without it is appended."""
MAX_NAME, MAX_TEXT, MAX_STYLES = 100, 10_000, 16
MAX_PER_OWNER = 1000


@dataclass(frozen=True)
class Style:
    """A style's texts; either may be empty. `about` says what it is for."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""
    about: str = ""


BUILT_IN = (
    Style(
        name="standard-negative",
        negative_prompt=(
            "blurry, low quality, low resolution, jpeg artifacts, watermark, signature, text, cropped, out of frame, "
            "deformed, bad anatomy, bad hands, extra fingers, missing fingers, extra limbs"
        ),
        about=(
            "A plain negative template: common faults of quality, framing and anatomy. The list is imagefarm's own. "
            "It has an effect only while guidance is on."
        ),
    ),
)


def apply_styles(prompt: str, negative_prompt: str, styles: Iterable[Style], max_chars: int) -> tuple[str, str]:
    """Return both texts with the styles applied in order, each to the result of the one before.

    Raises InvalidInput when a result would have more than `max_chars` characters, before it is built.
    """
    for style in styles:
        prompt = _merged(style.prompt, prompt, style.name, max_chars)
        negative_prompt = _merged(style.negative_prompt, negative_prompt, style.name, max_chars)
    return prompt, negative_prompt


def _merged(text: str, prompt: str, name: str, max_chars: int) -> str:
    """Merge as A1111 does: in place of `{prompt}`, else appended with a comma; empty parts add nothing."""
    places = text.count(PLACE)
    length = len(text) + (places * (len(prompt) - len(PLACE)) if places else len(prompt))
    if length > max_chars:
        raise InvalidInput(
            f"With the style '{name}' the prompt has {length} characters: send a shorter prompt or fewer styles; "
            f"at most {max_chars} are accepted.",
            field="styles",
            code="prompt_too_long",
        )
    if places:
        return text.replace(PLACE, prompt)
    return ", ".join(part for part in (prompt.strip(), text.strip()) if part) if text.strip() else prompt


def choose_styles(names: Sequence[str], known: Iterable[Style]) -> list[Style]:
    """Return the styles of these names in their order; `known`: the first of a name wins. Raises InvalidInput."""
    by_name: dict[str, Style] = {}
    for style in known:
        by_name.setdefault(style.name, style)
    for name in names:
        if name not in by_name:
            shown = ", ".join(sorted(by_name)[:20])
            raise InvalidInput(
                f"There is no style '{name}'. Yours and the shared ones are: {shown}{', ...' if len(by_name) > 20 else ''}.",
                field="styles",
                code="unknown_style",
            )
    return [by_name[name] for name in names]
