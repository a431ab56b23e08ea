"""The figures of a run of the scenes, as written to and read from JSON."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import InvalidInput
from core.scenes.scenes import Published, RecipeName, load_scenes


class SceneFigures(BaseModel):
    """One scene. Seconds are wall time; memory is in GB (10^9 bytes).

    `seconds_per_image`: from the first step's start to the stored file, without loading; the median of `all_seconds`.
    `peak_memory_gb`: of the device that rendered, for a CPU of the engine process.
    """

    model_config = ConfigDict(extra="ignore")

    id: str
    title: str
    prompt: str
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    load_seconds: float | None
    seconds_per_image: float
    all_seconds: list[float]
    peak_memory_gb: float | None
    peak_memory: dict[str, float] = Field(default_factory=dict)
    cost_factor: float = Field(description="forward passes divided by those of the authors' recipe at the same size")
    notes: list[str] = Field(default_factory=list)


class SceneReport(BaseModel):
    """A run on one machine with one model. `farm`: its URL; None when the command rendered by itself."""

    model_config = ConfigDict(extra="ignore")

    model: str
    recipe: RecipeName
    farm: str | None
    device: str
    dtype: str
    memory_policy: str
    versions: dict[str, str]
    created_at: datetime
    random_weights: bool
    load_seconds: float | None
    scenes: list[SceneFigures]
    published: Published = Field(default_factory=lambda: load_scenes().published)

    @property
    def label(self) -> str:
        """The run in a legend."""
        noise = " (random weights)" if self.random_weights else ""
        recipe = "the authors' recipe" if self.recipe == "authors" else "the document's recipe"
        return f"{self.model}{noise}, {recipe}, {self.device}"


def read_report(path: Path) -> SceneReport:
    """Return the report in a file of `bench scenes --json`. Raises InvalidInput saying what is wrong."""
    try:
        return SceneReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"Could not read '{path}': {error.strerror or error}.", code="unreadable_file") from error
    except ValidationError as error:
        raise InvalidInput(
            f"'{path}' is not a report of `imagefarm bench scenes --json` ({error.error_count()} problems).",
            code="unreadable_file",
        ) from error
