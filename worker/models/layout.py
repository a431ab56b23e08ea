"""Where things lie inside the models directory; imports nothing heavy."""

from __future__ import annotations

from pathlib import Path


def lora_folder(weights: Path, repo: str) -> Path:
    """The folder, beside a model's components, of a LoRA that belongs to the model."""
    return weights / "loras" / repo.replace("/", "--")
