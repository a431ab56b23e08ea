"""Render a small image with a stock pipeline."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import DiffusionPipeline
from numpy.typing import NDArray

PROMPT = "一只猫在月亮上 🐱, a cat on the moon"


def render_small(pipeline: DiffusionPipeline) -> NDArray[np.float32]:
    """Render 64x64, enough for Z-Image; Stable Diffusion from one file differs there from its folder in the last bits."""
    return render(pipeline, size=64)


def render(pipeline: DiffusionPipeline, steps: int = 2, size: int = 128, **options: object) -> NDArray[np.float32]:
    """Return a square of RGB in 0..1, [height, width, 3], with the same seed each time."""
    image = pipeline(
        prompt=PROMPT,
        width=size,
        height=size,
        num_inference_steps=steps,
        generator=torch.Generator("cpu").manual_seed(1),
        output_type="np",
        **options,
    ).images[0]
    return np.asarray(image, dtype=np.float32)
