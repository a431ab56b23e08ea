"""What is said about a job's parameters and model."""

from __future__ import annotations

from typing import Any

from core.catalogue import load_catalogue, noise_notice


def public_input(stored: dict[str, Any]) -> dict[str, Any]:
    """Parameters without where the farm keeps its files."""
    shown = {name: value for name, value in stored.items() if name != "init_image"}
    if (init := stored.get("init_image")) is not None:
        shown["init_image"] = init["upload_id"]
    return shown


def notice_of(model_id: str) -> str | None:
    """What must be said beside every picture of this model."""
    model = next((row for row in load_catalogue() if row.id == model_id), None)
    return (noise_notice(model) or None) if model is not None else None
