"""What OpenAI's clients send for a picture, and the job it means."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.catalogue import Catalogue
from core.errors import InvalidInput
from core.schemas.base import Text
from core.schemas.jobs import JobRequest

_THEIRS = ("dall-e", "gpt-image", "chatgpt-image")
_OURS = frozenset(JobRequest.model_fields) | {"steps", "cfg_scale", "num_images"}
_WITHOUT_EFFECT = frozenset({"user", "moderation", "quality", "style", "background"})
_NOT_DEFAULT = {"quality": ("auto", "standard", None), "style": (None,), "background": ("auto", "opaque", None)}


class ImagesRequest(BaseModel):
    """POST /v1/images/generations. Fields of POST /v1/jobs (seed, num_inference_steps, ...) may be sent beside these."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"prompt": "a red fox asleep in snow", "size": "512x512", "n": 1}]},
    )

    prompt: Text
    model: Text | None = Field(None, description="Id from /v1/models; OpenAI's own names mean the farm's default.")
    n: int | None = Field(None, description="Images, each with its own seed.")
    size: Text | None = Field(None, description='`"512x512"`, or `"auto"` for the model\'s own size.')
    response_format: Literal["url", "b64_json"] | None = Field(None, description="Default: url.")
    output_format: Literal["png", "jpeg", "webp"] | None = Field(None, description="Default: png.")
    stream: bool | None = Field(None, description="Not offered: false.")

    def job(self, catalogue: Catalogue) -> tuple[JobRequest, list[str]]:
        """The job, and sentences about what of the request has no effect here."""
        if self.stream:
            raise InvalidInput("stream is not offered here: follow GET /v1/jobs/ID/events instead.", field="stream")
        extra = self.model_extra or {}
        fields: dict[str, Any] = {name: value for name, value in extra.items() if name in _OURS}
        fields["prompt"] = self.prompt
        fields |= {"num_images": self.n} if self.n is not None else {}
        fields |= {"size": self.size} if self.size not in (None, "auto") else {}
        model, warnings = _model(self.model, catalogue)
        fields |= {"model": model} if model else {}
        return JobRequest.model_validate(fields), warnings + _ignored(extra)


def _model(name: str | None, catalogue: Catalogue) -> tuple[str | None, list[str]]:
    """Programs written for OpenAI name its models; they mean "the usual one"."""
    if name is None or not name.startswith(_THEIRS):
        return (catalogue.get(name).id if name else None), []
    return None, [f"'{name}' is not served here: the farm's default model was used."]


def _ignored(extra: dict[str, Any]) -> list[str]:
    unknown = sorted(set(extra) - _OURS - _WITHOUT_EFFECT)
    found = [f"'{name}' has no effect here." for name in unknown]
    return found + [
        f"{name} '{extra[name]}' has no effect here." for name in _NOT_DEFAULT if extra.get(name) not in _NOT_DEFAULT[name]
    ]
