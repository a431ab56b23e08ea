"""Requests to the engine, one for each image, and the records and timings that it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_SEED = 2**32 - 1
"""The largest seed of a job."""
DEFAULT_STRENGTH = 0.6
"""Strength of image-to-image when a request names neither `strength` nor `start_sigma`."""
DEFAULT_INPAINT_STRENGTH = 1.0
"""The same with a mask: the white area is painted anew, whatever it shows now."""


class LoraRequest(BaseModel):
    """A LoRA adapter to apply while this image is rendered."""

    model_config = ConfigDict(frozen=True)

    name: str
    scale: float = 1.0


class UpscalePart(BaseModel):
    """Enlarge the init image instead of rendering one. `output`: the file that the engine writes, a PNG without metadata."""

    model_config = ConfigDict(frozen=True)

    upscaler: str
    scale: int
    output: Path

    @property
    def reduced_output(self) -> Path:
        """Where the engine writes a WebP that thumbnails are made from."""
        return self.output.with_suffix(".webp")


class NoiseSource(BaseModel):
    """Everything that the starting noise of one text-to-image render is drawn from; `width` and `height` in pixels.

    `variation_strength` (0..1) mixes in the noise of `variation_seed`. `coherent`: the noise of a smaller image, whose
    coarse structure this noise has. The arithmetic is in `worker/pipelines/noise.py`.
    """

    model_config = ConfigDict(frozen=True)

    seed: int
    width: int
    height: int
    variation_seed: int | None = None
    variation_strength: float = 0.0
    coherent: NoiseSource | None = None

    @property
    def generator_seed(self) -> int:
        """The seed of everything that is drawn: with all of a variation, the variation's own."""
        is_whole = self.variation_seed is not None and self.variation_strength >= 1
        return self.variation_seed if is_whole and self.variation_seed is not None else self.seed

    @property
    def mixed_in(self) -> int | None:
        """The seed whose noise is mixed with that of `generator_seed`; None without a mix."""
        return self.variation_seed if 0 < self.variation_strength < 1 else None

    @property
    def is_plain(self) -> bool:
        """Whether the noise is what a pipeline draws by itself from `generator_seed`."""
        return self.mixed_in is None and self.coherent is None


class RenderRequest(BaseModel):
    """One image to render, or with `upscale` one to enlarge; `width` and `height` are those of the result.

    `guidance_scale` is on the conventional scale (1.0 = off); the model family converts it for its pipeline.
    `has_init_image` and `has_mask` announce an init image and a mask, whose bytes are sent separately.
    `start_sigma` (0..1, in place of `strength`): the noise level at which image-to-image starts, with all its steps.
    `variation_seed`, `variation_strength`, `coherent`: see `NoiseSource`. `preview_every` is in steps; 0 means no previews.
    `upscaler`: the upscaler whose network enlarges the init image first.
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
    has_mask: bool = False
    strength: float | None = None
    start_sigma: float | None = None
    loras: tuple[LoraRequest, ...] = ()
    variation_seed: int | None = None
    variation_strength: float = 0.0
    coherent: NoiseSource | None = None
    upscaler: str | None = None
    preview_every: int = 0
    upscale: UpscalePart | None = None

    @property
    def noise(self) -> NoiseSource:
        """What the starting noise is drawn from."""
        return NoiseSource(**{name: getattr(self, name) for name in NoiseSource.model_fields})


class SafetyRecord(BaseModel):
    """What the worker's safety hook said about an image that was kept. `blur`: the stored image is blurred."""

    model_config = ConfigDict(frozen=True)

    action: Literal["tag", "blur"]
    labels: list[str] = Field(default_factory=list)


class RenderRecord(BaseModel):
    """How an image was rendered, stored with it: enough to decide whether a second run can be bit-identical."""

    family: str
    device: str
    dtype: str
    memory_policy: str
    attention_backend: str
    versions: dict[str, str]
    batch_sizes: list[int] = Field(description="images in the micro-batch at each step; all 1 when rendered alone")
    batches: dict[str, int] = Field(
        default_factory=dict,
        description="content of a micro-batch -> number of steps, such as `2x 512x512, 512x768 guided` -> 6",
    )
    pipeline_guidance_scale: float = Field(description="value passed to the pipeline, after conversion")
    sigmas_or_timesteps: list[float] = Field(default_factory=list)
    lora_hashes: dict[str, str] = Field(
        default_factory=dict, description="LoRA -> A1111's short hash: 12 digits of the SHA-256 of its tensors"
    )
    warnings: list[str] = Field(default_factory=list, description="sentences for the user, added to the job's warnings")
    safety: SafetyRecord | None = Field(None, description="verdict of the safety hook, if there is one to tell")
    peak_memory: dict[str, float] = Field(
        default_factory=dict,
        description="most memory that the engine process has taken since it started, in GB (10^9 bytes): `host`, and "
        "`device` on a GPU",
    )


class RenderTimings(BaseModel):
    """Seconds spent on one image inside the engine."""

    waited_seconds: float = 0.0
    encode_seconds: float = 0.0
    steps_seconds: float = 0.0
    decode_seconds: float = 0.0
