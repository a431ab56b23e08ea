"""One preset."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from core.catalogue import CatalogueModel


class Preset(BaseModel):
    """Values for what a request leaves out. `steps_factor` scales the model's own number of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9-]*$")
    title: str
    about: str
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    steps_factor: float = 1.0
    guidance_scale: float | None = None

    @classmethod
    def empty(cls) -> Preset:
        """No preset: the model's defaults."""
        return cls(id="", title="", about="")

    def steps_for(self, model: CatalogueModel) -> int:
        """Denoising steps for a model, within its limits unless the preset names a number."""
        if self.num_inference_steps is not None:
            return self.num_inference_steps
        return min(max(round(model.defaults.num_inference_steps * self.steps_factor), 1), model.limits.max_steps)
