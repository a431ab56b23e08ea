"""Four scenes for comparing machines and models: their data, the report of a run, its chart and contact sheet."""

from core.scenes.report import SceneFigures, SceneReport
from core.scenes.scenes import ModelFacts, PlannedScene, Published, RecipeName, Scene, SceneBook, load_scenes, plan_scene

__all__ = [
    "ModelFacts",
    "PlannedScene",
    "Published",
    "RecipeName",
    "Scene",
    "SceneBook",
    "SceneFigures",
    "SceneReport",
    "load_scenes",
    "plan_scene",
]
