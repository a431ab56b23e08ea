"""The texts `prompt` and `workflow` of a PNG, by which ComfyUI opens the graph that made an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

FIELD = "comfyui"
"""Where a job's `requested` holds the texts."""
MAX_BYTES = 2**19
"""Longest text: Pillow refuses to open files with texts above 1 MB."""
_KEYWORDS = ("prompt", "workflow")


def embedded(prompt: Mapping[str, Any], extra_data: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return the texts to store with a job, and warnings about those that are too long."""
    info = extra_data.get("extra_pnginfo")
    workflow = info.get("workflow") if isinstance(info, Mapping) else None
    texts = {"prompt": json.dumps(prompt)} | ({"workflow": json.dumps(workflow)} if workflow is not None else {})
    too_long = [name for name, text in texts.items() if len(text) > MAX_BYTES]
    warnings = [f"The images do not carry `{name}`: it has more than {MAX_BYTES // 1024} KB." for name in too_long]
    return {name: text for name, text in texts.items() if name not in too_long}, warnings


def texts_of(requested: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the texts that a job's images carry; empty for a job of another face, or of none."""
    found = (requested or {}).get(FIELD)
    if not isinstance(found, Mapping):
        return {}
    return {name: str(found[name]) for name in _KEYWORDS if name in found}
