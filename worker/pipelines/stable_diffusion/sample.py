"""One Stable Diffusion picture on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from worker.pipelines.family import Sample
from worker.pipelines.stable_diffusion.text import Conditioning
from worker.pipelines.untyped import Scheduler


@dataclass(eq=False, kw_only=True)
class UNetSample(Sample):
    """`latents`: 1 x channels x height/8 x width/8 in the model's dtype. The scheduler is this sample's own.

    `time_ids`: rows x 6, XL only. `guidance_embedding`: for UNets that take guidance with the time, else None.
    `step_options` go to each of the scheduler's steps: the generator, where it draws noise.
    """

    latents: torch.Tensor
    conditioning: Conditioning
    scheduler: Scheduler
    timesteps: torch.Tensor
    step_options: Mapping[str, object]
    generator: torch.Generator
    time_ids: torch.Tensor | None = None
    guidance_embedding: torch.Tensor | None = None
    estimate: torch.Tensor | None = None

    @property
    def timestep(self) -> torch.Tensor:
        """The scheduler's value for the step to come."""
        return self.timesteps[self.step]

    def model_input(self) -> torch.Tensor:
        """rows x channels x h x w."""
        latents = torch.cat([self.latents] * self.conditioning.rows)
        scaled: torch.Tensor = self.scheduler.scale_model_input(latents, self.timestep)
        return scaled

    def advance(self, outputs: torch.Tensor) -> None:
        """One step of the scheduler, from the UNet's output rows for this sample."""
        prediction = outputs
        if self.conditioning.rows == 2:
            negative, positive = outputs.chunk(2)
            prediction = negative + self.pipeline_guidance_scale * (positive - negative)
        made = self.scheduler.step(prediction, self.timestep, self.latents, **self.step_options)
        estimate = getattr(made, "pred_original_sample", None)
        self.estimate = estimate if estimate is not None else getattr(made, "denoised", None)
        self.latents = made.prev_sample
        self.step += 1
