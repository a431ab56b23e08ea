"""Schemas of LoRAs: what a job names, and what the API lists."""

from __future__ import annotations

from pydantic import Field

from core.schemas.base import RequestBody, ResponseBody, Text

MAX_LORAS = 8
MAX_SCALE = 4.0
MAX_NAME = 200


class JobLora(RequestBody):
    """A LoRA to apply to a job's images."""

    name: Text = Field(min_length=1, max_length=MAX_NAME, description="Name from /v1/loras.")
    scale: float = Field(
        1.0, ge=-MAX_SCALE, le=MAX_SCALE, allow_inf_nan=False, description="Strength; 1 is as trained, 0 has no effect."
    )


class Lora(ResponseBody):
    """One LoRA file, as its header describes it. Of two files with one name for a model, the first listed is used."""

    name: str = Field(description="Send it in `loras` with a job, or as `<lora:NAME:SCALE>` in a prompt.")
    file: str = Field(description="Path below the folder of LoRAs.")
    place: str = Field(description="`model`: a model's own folder; `models_dir`; `weights_dir`.")
    families: list[str] = Field(description="Architectures it may belong to; empty when its keys do not tell.")
    models: list[str] = Field(description="Models of the catalogue whose jobs get this file by its name.")
    trigger_words: list[str]
    title: str | None
    base: str | None = Field(description="What its trainer says it was trained on.")
    key_style: str | None = Field(description="`kohya`, `peft`, `diffusers`, `comfyui` or `lycoris`.")
    layers: int
    bytes: int
    hash: str | None = Field(
        description="A1111's short hash: 12 digits of the SHA-256 of the tensors. In the list only where it is known "
        "without reading the file."
    )
    sha256: str | None = Field(description="Of the whole file; in the list only once GET /v1/loras/{name} computed it.")
    problem: str | None = Field(description="Why it cannot be used.")


class LoraList(ResponseBody):
    """GET /v1/loras."""

    items: list[Lora]
