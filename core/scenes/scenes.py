"""The scenes and published figures of scenes.toml, and the settings that a recipe gives a scene on a model."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.catalogue import GUIDANCE_OFF

RecipeName = Literal["document", "authors"]
"""`document`: the published ranges by content type, at their midpoints. `authors`: the model's own defaults."""


class Data(BaseModel):
    """A part of scenes.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Published(Data):
    """Figures as published: [lowest, highest] over all scenes, memory in GB."""

    hardware: str
    model: str
    width: int
    height: int
    steps: tuple[int, int]
    seconds: tuple[float, float]
    memory_gb: tuple[float, float]
    first_load_seconds: float
    about: str


class Recipe(Data):
    """Ranges of a content type, as published."""

    steps: tuple[int, int]
    guidance_scale: tuple[float, float]

    @property
    def middle_steps(self) -> int:
        return sum(self.steps) // 2

    @property
    def middle_guidance(self) -> float:
        return sum(self.guidance_scale) / 2


class Scene(Data):
    """One scene. `prompt` is Chinese, `prompt_en` its translation; sizes are in pixels."""

    id: str
    title: str
    title_zh: str
    kind: str
    width: int
    height: int
    seed: int
    prompt: str
    prompt_en: str


class SceneBook(Data):
    """The content of scenes.toml."""

    published: Published
    recipes: dict[str, Recipe]
    scenes: tuple[Scene, ...] = Field(alias="scene")


@dataclass(frozen=True)
class ModelFacts:
    """What a recipe needs to know of a model: its authors' recipe and its limits. `guidance`: whether it has any."""

    id: str
    steps: int
    guidance_scale: float
    max_steps: int
    max_guidance_scale: float
    guidance: bool

    def passes(self, steps: int, guidance_scale: float) -> int:
        """Return the forward passes of one image; guidance runs the model twice a step."""
        return steps * (2 if self.guidance and guidance_scale > GUIDANCE_OFF else 1)

    def cost_factor(self, steps: int, guidance_scale: float) -> float:
        """Return the forward passes divided by those of the authors' recipe, at the same size."""
        return self.passes(steps, guidance_scale) / self.passes(self.steps, self.guidance_scale)


@dataclass(frozen=True)
class PlannedScene:
    """A scene with the settings to render it with; `notes` say where they differ from the recipe."""

    scene: Scene
    num_inference_steps: int
    guidance_scale: float
    cost_factor: float
    notes: tuple[str, ...] = ()


@cache
def load_scenes() -> SceneBook:
    """Return the scenes, in the order to render them in."""
    text = files("core.scenes").joinpath("scenes.toml").read_text(encoding="utf-8")
    return SceneBook.model_validate(tomllib.loads(text))


def plan_scene(scene: Scene, recipe: RecipeName, model: ModelFacts) -> PlannedScene:
    """Return the settings of the scene; values above the model's limits are cut to them, with a note."""
    steps, guidance = model.steps, model.guidance_scale
    if recipe == "document":
        ranges = load_scenes().recipes[scene.kind]
        steps, guidance = ranges.middle_steps, ranges.middle_guidance
    notes = []
    if steps > model.max_steps:
        notes.append(f"{steps} steps cut to {model.max_steps}, the most that {model.id} takes")
        steps = model.max_steps
    if guidance > model.max_guidance_scale:
        notes.append(f"guidance_scale {guidance:g} cut to {model.max_guidance_scale:g}, the most that {model.id} takes")
        guidance = model.max_guidance_scale
    return PlannedScene(scene, steps, guidance, model.cost_factor(steps, guidance), tuple(notes))
