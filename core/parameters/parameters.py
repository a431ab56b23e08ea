"""Complete render parameters as stored in `jobs.input`, and the error that lists every invalid value."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from core.errors import InvalidInput


class InvalidParameters(InvalidInput):
    """`problems` are (field, message) pairs; the error's own field and message are those of the first."""

    code = "invalid_parameters"

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        field, message = problems[0]
        super().__init__(f"{field}: {message}", field=field)
        self.problems = problems


class Findings:
    """Collects problems while a request is looked through."""

    def __init__(self) -> None:
        self._problems: list[tuple[str, str]] = []

    def add(self, field: str, message: str) -> None:
        """Notes one value at fault; `message` says what to send instead."""
        self._problems.append((field, message))

    def raise_if_any(self) -> None:
        """Raises InvalidParameters when something was noted."""
        if self._problems:
            raise InvalidParameters(self._problems)


class InitImage(BaseModel):
    """The picture that image-to-image starts from. `key` names its file in the image store."""

    model_config = ConfigDict(frozen=True)

    upload_id: str
    key: str
    width: int
    height: int
    sha256: str


class RenderParameters(BaseModel):
    """Nothing is left to decide: image i of the job is rendered with seed + i.

    `guidance_scale` is conventional (1.0 = off). With `init_image`, either `strength` or `start_sigma` is set; else neither.
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
    preset: str | None = None

    def stored(self) -> dict[str, Any]:
        """As JSON values, without what is not set."""
        return self.model_dump(mode="json", exclude_none=True)
