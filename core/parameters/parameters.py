"""Complete render parameters as stored in `jobs.input`, and the error that lists every invalid value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.errors import InvalidInput
from core.render import LoraRequest


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
    """The image that image-to-image starts from. `key` is the key of its file in the store of uploads."""

    model_config = ConfigDict(frozen=True)

    upload_id: str
    key: str
    width: int
    height: int
    sha256: str


class MaskImage(InitImage):
    """The mask of inpainting, an upload too. `white_share`: which share of it is repainted, 0..1."""

    white_share: float


class ExpandedFrom(BaseModel):
    """The texts that a job was submitted with, before its styles were applied and dynamic prompts were expanded."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    negative_prompt: str = ""
    styles: tuple[str, ...] = ()
    dynamic: bool = False


class RenderParameters(BaseModel):
    """Complete parameters, without defaults left to fill in. Image i of the job is rendered with seed + i.

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
    expanded_from: ExpandedFrom | None = None
    prompts: tuple[str, ...] = ()
    negative_prompts: tuple[str, ...] = ()

    def stored(self) -> dict[str, Any]:
        """Return JSON values, without the fields that are None and without empty lists."""
        empty = {name for name in ("loras", "prompts", "negative_prompts") if not getattr(self, name)}
        return self.model_dump(mode="json", exclude_none=True, exclude=empty or None)


def input_of_image(job_input: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return a job's stored parameters as those of one image: its own texts and seed, and a count of one."""
    found = {name: value for name, value in job_input.items() if name not in ("prompts", "negative_prompts")}
    for name, texts in (("prompt", "prompts"), ("negative_prompt", "negative_prompts")):
        if job_input.get(texts):
            found[name] = job_input[texts][index]
    return found | {"seed": int(job_input["seed"]) + index, "num_images": 1}
