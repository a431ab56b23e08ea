"""Schema of what a form offers, in one response."""

from __future__ import annotations

from pydantic import Field

from core.schemas.base import ResponseBody
from core.schemas.farm import Session
from core.schemas.loras import Lora
from core.schemas.models import Model, Recipe
from core.schemas.styles import Style
from core.schemas.upscales import Upscaler
from core.schemas.wildcards import Wildcard


class Choices(ResponseBody):
    """GET /v1/choices: the lists of the calls of the same names. Without a valid key, only `session` is filled."""

    session: Session
    version: str
    flower_port: int | None = Field(None, description="Where Flower listens, for the scope admin.")
    models: list[Model] = Field(default_factory=list)
    recipes: list[Recipe] = Field(default_factory=list)
    styles: list[Style] = Field(default_factory=list)
    loras: list[Lora] = Field(default_factory=list)
    upscalers: list[Upscaler] = Field(default_factory=list)
    wildcards: list[Wildcard] = Field(default_factory=list)
