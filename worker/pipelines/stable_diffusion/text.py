"""Encode prompts into a Stable Diffusion UNet's conditioning, through the pipeline's own encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from core.render import RenderRequest
from worker.models.libraries import Pipeline


@dataclass(frozen=True)
class Conditioning:
    """Rows in the order in which the pipeline batches them: the negative one first, if guided.

    `embeddings`: rows x tokens x features. `pooled`: rows x features for XL, else None.
    """

    embeddings: torch.Tensor
    pooled: torch.Tensor | None

    @property
    def rows(self) -> int:
        return len(self.embeddings)

    def nbytes(self) -> int:
        return self.embeddings.nbytes + (0 if self.pooled is None else self.pooled.nbytes)

    def to(self, device: torch.device) -> Conditioning:
        pooled = None if self.pooled is None else self.pooled.to(device)
        return Conditioning(self.embeddings.to(device), pooled)


def is_xl(pipeline: Pipeline) -> bool:
    """Return whether this is XL, which adds a second text encoder, pooled embeddings and size conditioning."""
    return hasattr(pipeline, "tokenizer_2")


def is_guided(pipeline: Pipeline, request: RenderRequest) -> bool:
    """Decide as the pipelines do: UNets with guidance in their time embedding need no guidance pair."""
    return request.guidance_scale > 1 and pipeline.unet.config.time_cond_proj_dim is None


def encode(pipeline: Pipeline, request: RenderRequest, device: torch.device) -> Conditioning:
    """Encode the prompts. A missing negative prompt is None, not "": XL makes zeros of one, an embedding of the other."""
    guided = is_guided(pipeline, request)
    encoded = pipeline.encode_prompt(
        prompt=request.prompt,
        device=device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=guided,
        negative_prompt=request.negative_prompt or None,
    )
    if is_xl(pipeline):
        positive, negative, pooled, negative_pooled = encoded
        return Conditioning(_pair(negative, positive, guided), _pair(negative_pooled, pooled, guided))
    positive, negative = encoded
    return Conditioning(_pair(negative, positive, guided), None)


def _pair(negative: torch.Tensor, positive: torch.Tensor, guided: bool) -> torch.Tensor:
    return torch.cat([negative, positive], dim=0) if guided else positive
