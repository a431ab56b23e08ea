"""A safety hook for tests: the prompt says what it answers."""

from __future__ import annotations

from typing import Any

from PIL import Image


def judge(image: Image.Image, fields: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the action that the prompt starts with, for images from index 1 on; earlier ones pass."""
    action = str(fields["prompt"]).split()[0]
    if action == "raise":
        raise RuntimeError("the classifier is not there")
    return (action if fields["index"] >= int(fields["negative_prompt"] or 0) else "ok"), ["planted", str(image.width)]
