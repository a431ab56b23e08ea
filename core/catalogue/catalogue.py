"""The rows of the model catalogue, read from models.toml and looked up by id or alias."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.errors import InvalidInput

Architecture = Literal["z-image", "sd15", "sd21", "sdxl", "flux2-klein", "qwen-image"]
"""A set of component classes and their configurations; models of one architecture differ in weights alone."""
Component = Literal["transformer", "unet", "text_encoder", "text_encoder_2", "vae"]
"""A part of a pipeline that has weights, by diffusers' name."""

PREFERRED = "z-image-turbo"
"""The model that a farm runs when its weights are there and the settings name none."""
GUIDANCE_OFF = 1.0
"""Guidance scale, by the conventional scale, at which guidance has no effect."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SchedulerChoice(_Row):
    """A diffusers scheduler by class name, with changes to its saved configuration."""

    cls: str
    config: dict[str, str | float | int | bool] = Field(default_factory=dict)


class Lora(_Row):
    """A LoRA adapter that is part of the model, such as LCM's."""

    repo: str
    weight_name: str = "pytorch_lora_weights.safetensors"
    scale: float = 1.0


class Defaults(_Row):
    """Values for fields that a job leaves out. `guidance_scale` is conventional: 1.0 = off."""

    num_inference_steps: int
    guidance_scale: float
    width: int
    height: int


class Limits(_Row):
    """The ranges that a job's values must be in. `multiple`, `min_side` and `max_side` are in pixels."""

    max_steps: int = 100
    max_guidance_scale: float = 30.0
    multiple: int
    min_side: int = 64
    max_side: int
    max_pixels: int
    max_prompt_tokens: int


class Weights(_Row):
    """Source and size of the weights. `download_gigabytes` is what a pull transfers; `variant` is diffusers' argument.

    `parameters`: component -> number of parameters, to choose a memory tier before anything is downloaded.
    """

    repo: str = ""
    revision: str | None = None
    variant: str | None = None
    download_gigabytes: float = 0.0
    resident_gigabytes: float = 0.0
    parameters: dict[str, int] = Field(default_factory=dict)


class CatalogueModel(_Row):
    """One row of the catalogue.

    `family` selects the code that renders it; `pipeline` is a diffusers class name or `auto`.
    `cfg` is the pipeline's guidance scale: `standard` (1 = off), `true` (its true_cfg_scale, 1 = off), `offset` (0 = off),
    `none` (it has no guidance).
    `architecture` names the configurations and tokenizers that single files are loaded with; empty for models that only
    load from a folder. `folder` (diffusers' layout) or `files` (component -> weight file; several components may name one
    checkpoint) are set in rows that a user added; such rows need no repository.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str
    about: str
    aliases: tuple[str, ...] = ()
    family: Literal["z-image", "stable-diffusion", "stock"]
    pipeline: str = "auto"
    architecture: Architecture | Literal[""] = ""
    folder: Path | None = None
    files: dict[Component, Path] = Field(default_factory=dict)
    weights: Weights = Weights()
    built_locally: bool = Field(False, description="random weights made on this machine: its images are noise")
    dtypes: tuple[Literal["bfloat16", "float16", "float32"], ...]
    scheduler: SchedulerChoice | None = None
    loras: tuple[Lora, ...] = ()
    takes_loras: bool = Field(True, description="whether jobs may name LoRAs")
    defaults: Defaults
    limits: Limits
    cfg: Literal["standard", "true", "offset", "none"]
    negative_prompt: Literal["none", "needs_cfg"]
    img2img: Literal["strength", "edit", "none"] = "none"
    licence: str
    commercial: Literal["yes", "no", "conditional"]
    notes: tuple[str, ...] = ()

    @property
    def takes_start_sigma(self) -> bool:
        """Whether image-to-image may start at a noise level that the job names."""
        return self.family == "z-image" and self.img2img == "strength"

    @property
    def takes_mask(self) -> bool:
        """Whether image-to-image may be limited to a part of the image."""
        return self.family in ("z-image", "stable-diffusion") and self.img2img == "strength"

    @property
    def takes_noise(self) -> bool:
        """Whether a job may say what its starting noise is made of: variation seeds and coherent noise."""
        return self.family in ("z-image", "stable-diffusion")

    def guidance_is_on(self, guidance_scale: float) -> bool:
        """Return whether guidance has an effect, which makes each step run the model twice."""
        return self.cfg != "none" and guidance_scale > GUIDANCE_OFF

    def forward_passes(self, steps: int, guidance_scale: float) -> int:
        """Return how often an image runs the model."""
        return steps * (2 if self.guidance_is_on(guidance_scale) else 1)

    @property
    def default_passes(self) -> int:
        """How often an image of the default steps and guidance runs the model."""
        return self.forward_passes(self.defaults.num_inference_steps, self.defaults.guidance_scale)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        """Check rules between fields, since a row that breaks one would otherwise fail only at the first render."""
        problems = [*self._default_problems(), *self._weight_problems()]
        if self.family == "z-image" and "float16" in self.dtypes:
            problems.append("Z-Image overflows in float16")
        if self.cfg == "none" and self.negative_prompt != "none":
            problems.append("a negative prompt needs guidance, and cfg is none")
        if problems:
            raise ValueError(f"{self.id}: {'; '.join(problems)}")
        return self

    def _default_problems(self) -> list[str]:
        defaults, limits = self.defaults, self.limits
        sides = (defaults.width, defaults.height)
        checks = {
            "the default size is not a multiple": any(side % limits.multiple for side in sides),
            "the default size is outside the limits": not all(limits.min_side <= s <= limits.max_side for s in sides),
            "the default size has too many pixels": defaults.width * defaults.height > limits.max_pixels,
            "the default steps are outside the limits": not 1 <= defaults.num_inference_steps <= limits.max_steps,
            "the default guidance is outside the limits": not 1 <= defaults.guidance_scale <= limits.max_guidance_scale,
            "the default guidance has no effect": self.cfg == "none" and defaults.guidance_scale != 1.0,
        }
        return [text for text, wrong in checks.items() if wrong]

    def _weight_problems(self) -> list[str]:
        checks = {
            "it is built locally, yet names a repository": self.built_locally and bool(self.weights.repo),
            "it names no repository": not (self.built_locally or self.weights.repo or self.folder or self.files),
            "it names both a folder and files": self.folder is not None and bool(self.files),
            "it names files, but no architecture": bool(self.files) and not self.architecture,
            "it names no dtype": not self.dtypes,
            "its number of parameters is missing": not self.weights.parameters,
        }
        return [text for text, wrong in checks.items() if wrong]


class Catalogue:
    """Models by id or alias."""

    def __init__(self, models: list[CatalogueModel]) -> None:
        self._models = {model.id: model for model in models}
        self._names: dict[str, str] = {}
        for model in models:
            for name in (model.id, *model.aliases):
                if name in self._names:
                    raise ValueError(f"'{name}' means both {self._names[name]} and {model.id}")
                self._names[name] = model.id

    def __iter__(self) -> Iterator[CatalogueModel]:
        return iter(self._models.values())

    def get(self, name: str) -> CatalogueModel:
        """Return the model of that id or alias; the InvalidInput for an unknown name lists the known ones."""
        try:
            return self._models[self._names[name]]
        except KeyError:
            known = ", ".join(self._models)
            raise InvalidInput(
                f"There is no model called '{name}'. Known models: {known}.", field="model", code="unknown_model"
            ) from None


@cache
def load_catalogue() -> Catalogue:
    """Return the catalogue that the package ships."""
    data = tomllib.loads(files("core.catalogue").joinpath("models.toml").read_text(encoding="utf-8"))
    return Catalogue([CatalogueModel.model_validate(row) for row in data["model"]])


def noise_notice(model: CatalogueModel) -> str:
    """Return the notice to show next to images of a model with random weights; empty for trained models."""
    if not model.built_locally:
        return ""
    gigabytes = load_catalogue().get(PREFERRED).weights.download_gigabytes
    return (
        f"{model.id} has random weights: its images are noise. "
        f"`imagefarm models pull {PREFERRED}` downloads a trained model (about {gigabytes:.0f} GB)."
    )
