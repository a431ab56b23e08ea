"""Schemas of what an image says about how it was made."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from core.schemas.base import ResponseBody


class ImageParameters(ResponseBody):
    """POST /v1/parameters."""

    source: str | None = Field(
        None,
        description="Program that made it: `imagefarm`, `a1111` (and Forge, SD.Next), `comfyui`, `invokeai`, `fooocus`, "
        "`novelai`, `civitai`; null when the file does not say.",
    )
    fields: dict[str, Any] = Field(
        default_factory=dict, description="Fields of a job, to send to POST /v1/jobs as they are."
    )
    unmapped: dict[str, Any] = Field(
        default_factory=dict,
        description="What no field of a job stands for, by the program's names; long values are cut.",
    )
    warnings: list[str] = Field(default_factory=list, description="What to know before the fields are used.")
