"""Complete render parameters as stored in `jobs.input`, and the error that lists every invalid value."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from core.errors import InvalidInput
from core.refine_mode import RefineMode
from core.render import LoraRequest, NoiseSource


class InvalidParameters(InvalidInput):
    """`problems` are (field, message) pairs; the error's own field and message are those of the first."""

    code = "invalid_parameters"

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        field, message = problems[0]
        super().__init__(f"{field}: {message}", field=field)
        self.problems = problems


class Findings:
    """Problems collected while a request is checked."""

    def __init__(self) -> None:
        self._problems: list[tuple[str, str]] = []

    def add(self, field: str, message: str) -> None:
        """Add one invalid value; `message` names what to send instead."""
        self._problems.append((field, message))

    def raise_if_any(self) -> None:
        """Raise InvalidParameters when a problem was added."""
        if self._problems:
            raise InvalidParameters(self._problems)


class InitImage(BaseModel):
    """The image that image-to-image starts from: an upload, or an image of this farm.

    `key` is the key of its file, in the store of uploads or in that of images.
    """

    model_config = ConfigDict(frozen=True)

    upload_id: str | None = None
    image_id: str | None = None
    key: str
    width: int
    height: int
    sha256: str


class MaskImage(InitImage):
    """The mask of inpainting, an upload too. `white_share`: which share of it is repainted, 0..1."""

    white_share: float


class Parent(BaseModel):
    """The image that a job was made from, and the model that rendered that one."""

    model_config = ConfigDict(frozen=True)

    image: str
    model: str


class ExpandedFrom(BaseModel):
    """The texts that a job was submitted with, before its styles were applied and dynamic prompts were expanded."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    negative_prompt: str = ""
    styles: tuple[str, ...] = ()
    dynamic: bool = False


class RenderParameters(BaseModel):
    """Complete parameters, without defaults left to fill in. Image i of the job is rendered with seed + i.

    With a variation, which is set only above strength 0, all images have one seed, and image i has variation seed + i.
    `guidance_scale` is conventional (1.0 = off). With `init_image`, either `strength` or `start_sigma` is set, unless the
    model edits images; else neither. `mask_feather` is in pixels and set with `mask`. `prompts` and `negative_prompts` are
    those of each image, if they differ.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    variation_seed: int | None = None
    variation_strength: float | None = None
    num_images: int = 1
    strict: bool = False
    strength: float | None = None
    start_sigma: float | None = None
    init_image: InitImage | None = None
    mask: MaskImage | None = None
    mask_feather: int | None = None
    preset: str | None = None
    recipe: str | None = None
    loras: tuple[LoraRequest, ...] = ()
    coherent: NoiseSource | None = None
    parent: Parent | None = None
    refine_mode: RefineMode | None = None
    upscaler: str | None = None
    expanded_from: ExpandedFrom | None = None
    prompts: tuple[str, ...] = ()
    negative_prompts: tuple[str, ...] = ()

    def stored(self) -> dict[str, Any]:
        """Return JSON values, without the fields that are None and without empty lists."""
        empty = {name for name in ("loras", "prompts", "negative_prompts") if not getattr(self, name)}
        return self.model_dump(mode="json", exclude_none=True, exclude=empty or None)
