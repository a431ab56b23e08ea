"""What a worker asks its engine: one request is one image, and the engine batches requests as it sees fit."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_STRENGTH = 0.6
"""Image-to-image: how much of the start image may change where a request names neither `strength` nor `start_sigma`."""


class LoraRequest(BaseModel):
    """A LoRA adapter to apply while this image is rendered."""

    model_config = ConfigDict(frozen=True)

    name: str
    scale: float = 1.0


class RenderRequest(BaseModel):
    """One image to render.

    `guidance_scale` is on the conventional scale (1.0 = off); a family converts it to what its pipeline wants.
    `init_image` (PNG bytes travel beside the request, not in it) is announced by `has_init_image`.
    `start_sigma` (0..1, in place of `strength`): the noise level at which image-to-image begins, for all its steps.
    `preview_every` is in steps; 0 means no previews.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="job id, attempt and image index: `<job>/<attempt>/<index>`")
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float = 1.0
    seed: int
    strict: bool = False
    has_init_image: bool = False
    strength: float | None = None
    start_sigma: float | None = None
    loras: tuple[LoraRequest, ...] = ()
    preview_every: int = 0


class RenderRecord(BaseModel):
    """How an image came about, stored with it: enough to judge whether a second run can match it to the bit."""

    family: str
    device: str
    dtype: str
    memory_policy: str
    attention_backend: str
    versions: dict[str, str]
    batch_sizes: list[int] = Field(description="images in the forward pass, step by step; all 1 when rendered alone")
    batches: dict[str, int] = Field(
        default_factory=dict, description="what those passes held -> passes, such as `2x 512x512, 512x768 guided` -> 6"
    )
    pipeline_guidance_scale: float = Field(description="what the pipeline was given, after conversion")
    sigmas_or_timesteps: list[float] = Field(default_factory=list)


class RenderTimings(BaseModel):
    """Seconds spent on one image inside the engine."""

    waited_seconds: float = 0.0
    encode_seconds: float = 0.0
    steps_seconds: float = 0.0
    decode_seconds: float = 0.0
