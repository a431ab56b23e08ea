"""Schemas of the models and presets that the API lists."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from core.schemas.base import RequestBody, ResponseBody


class ModelWeights(ResponseBody):
    """The model's weights on the disk that this API process reads; workers on other machines may have others."""

    seen_by: Literal["api"] = "api"
    present: bool
    origin: str | None = Field(None, description="models_dir, folder, hub_cache or files")
    size_bytes: int = 0
    problems: list[str] = Field(description="What is wrong with weights that are there and cannot be loaded.")
    missing: str | None = Field(None, description="What to do when they are absent or cannot be loaded.")


class Model(ResponseBody):
    """One model of the catalogue. `served`: whether a live worker renders it; `loaded_by`: those that have it loaded."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str
    title: str
    about: str
    aliases: list[str]
    family: str
    served: bool
    accepts_jobs: bool
    default: bool = Field(description="Used for jobs that name no model.")
    workers: list[str]
    loaded_by: list[str] = Field(default_factory=list)
    state: str = Field(
        description="ready, loading, unloaded (a job loads it), blocked, paused, draining, failed, away or not_served"
    )
    reason: str | None = Field(None, description="Why it is not ready, and what to do.")
    notice: str | None = None
    defaults: dict[str, Any]
    limits: dict[str, Any]
    guidance: bool
    negative_prompt: Literal["none", "needs_cfg"]
    image_to_image: Literal["strength", "edit", "none"]
    inpainting: bool = Field(description="Whether image-to-image takes a mask.")
    licence: str
    commercial: str
    notes: list[str]
    weights: ModelWeights | None = Field(None, description="In GET /v1/models/{model_id}, for the scope admin.")


class ModelList(ResponseBody):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[Model]


class ModelRequestBody(RequestBody):
    """POST /v1/models/{id}/load and /unload; the body may be left out."""

    worker: str | None = Field(None, max_length=120, description="Name of the worker to ask.", examples=["studio-gpu0"])


class AskedWorker(ResponseBody):
    """A worker that was asked. `state`: where the model is there now; `message`: what the worker will do."""

    name: str
    state: str
    message: str


class ModelRequestAnswer(ResponseBody):
    """Workers act on the request within seconds; GET /v1/workers shows how far they are."""

    model: str
    request: Literal["load", "unload"]
    workers: list[AskedWorker]
    message: str


class Preset(ResponseBody):
    """Values for what a request leaves out; null leaves it to the model."""

    id: str
    title: str
    about: str
    width: int | None
    height: int | None
    num_inference_steps: int | None
    steps_factor: float
    guidance_scale: float | None


class PresetList(ResponseBody):
    """GET /v1/presets."""

    items: list[Preset]


class ValueRange(ResponseBody):
    """A recipe's range; without `max` it is open. A job gets its middle, or the `min` of an open one."""

    min: float
    max: float | None


class RecipeOfModel(ResponseBody):
    """A recipe's values for one model. `cost_factor`: its cost divided by that of the model's defaults."""

    model: str
    num_inference_steps: int
    guidance_scale: float
    cost_factor: float
    fits: bool = Field(description="Whether the model's authors recommend something like it.")
    warning: str | None = Field(description="What a job with this recipe is warned of.")


class Recipe(ResponseBody):
    """Steps and guidance for one kind of content; null means the model's own."""

    id: str
    title: str
    about: str
    num_inference_steps: ValueRange | None
    guidance_scale: ValueRange | None
    models: list[RecipeOfModel]


class RecipeList(ResponseBody):
    """GET /v1/recipes."""

    items: list[Recipe]
