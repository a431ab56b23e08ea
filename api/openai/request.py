"""Convert the image requests of OpenAI's clients to job requests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ConfigDict, Field

from core.catalogue import Catalogue
from core.errors import InvalidInput
from core.schemas.base import NullableBody, Text
from core.schemas.jobs import JobRequest

_OPENAI_MODELS = ("dall-e", "gpt-image", "chatgpt-image")
_JOB_FIELDS = frozenset(JobRequest.model_fields) | {"steps", "cfg_scale", "num_images"}
_WITHOUT_EFFECT = frozenset({"user", "moderation", "quality", "style", "background"})
_DEFAULTS: Mapping[str, tuple[str | None, ...]] = MappingProxyType(
    {"quality": ("auto", "standard", None), "style": (None,), "background": ("auto", "opaque", None)}
)


class ImagesRequest(NullableBody):
    """POST /v1/images/generations. Fields of POST /v1/jobs (seed, num_inference_steps, ...) may be sent as well."""

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
    stream: bool | None = Field(None, description="Not supported: send false.")

    def job(self, catalogue: Catalogue) -> tuple[JobRequest, list[str]]:
        """Return the job request, and a sentence for each field that has no effect here."""
        if self.stream:
            raise InvalidInput("stream is not supported here: follow GET /v1/jobs/ID/events instead.", field="stream")
        extra = self.model_extra or {}
        fields: dict[str, Any] = {name: value for name, value in extra.items() if name in _JOB_FIELDS}
        fields["prompt"] = self.prompt
        fields |= {"num_images": self.n} if self.n is not None else {}
        fields |= {"size": self.size} if self.size not in (None, "auto") else {}
        model, warnings = _model(self.model, catalogue)
        fields |= {"model": model} if model else {}
        return JobRequest.model_validate(fields), warnings + _ignored(extra)


def _model(name: str | None, catalogue: Catalogue) -> tuple[str | None, list[str]]:
    """Return our model, or None for the default: programs written for OpenAI name its models."""
    if name is None or not name.startswith(_OPENAI_MODELS):
        return (catalogue.get(name).id if name else None), []
    return None, [f"'{name}' is not served here: the farm's default model was used."]


def _ignored(extra: dict[str, Any]) -> list[str]:
    unknown = sorted(set(extra) - _JOB_FIELDS - _WITHOUT_EFFECT)
    found = [f"'{name}' has no effect here." for name in unknown]
    return found + [
        f"{name} '{extra[name]}' has no effect here." for name in _DEFAULTS if extra.get(name) not in _DEFAULTS[name]
    ]
