"""Convert the image requests of OpenAI's clients to job requests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from api.openai.quality import chosen_recipe
from core.catalogue import Catalogue, CatalogueModel
from core.errors import InvalidInput
from core.schemas.base import NullableBody, Text
from core.schemas.jobs import JobRequest

BASE64_ONLY = ("gpt-image", "chatgpt-image")
"""Models of OpenAI whose answers hold base64 alone: their clients read nothing else, and ask for no format."""
OPENAI_MODELS = ("dall-e", *BASE64_ONLY)
_JOB_FIELDS = frozenset(JobRequest.model_fields) | {"steps", "cfg_scale", "num_images"}
_UNREAD = frozenset({"input_fidelity", "safety_identifier"})
_DEFAULTS: Mapping[str, tuple[str | None, ...]] = MappingProxyType(
    {"style": (None,), "background": ("auto", "opaque", None), "input_fidelity": ("low", None)}
)


def is_openai_model(name: str | None) -> bool:
    """Return whether a name is one of OpenAI's own models, which mean the farm's default here."""
    return name is not None and name.startswith(OPENAI_MODELS)


class ImageOptions(NullableBody):
    """What all requests for images have. Fields of POST /v1/jobs (seed, num_inference_steps, ...) may be sent as well."""

    model_config = ConfigDict(extra="allow")

    model: Text | None = Field(None, description="Id from /v1/models; OpenAI's own names mean the farm's default.")
    n: int | None = Field(None, description="Images, each with its own seed.")
    size: Text | None = Field(None, description='`"512x512"`, or `"auto"` for the model\'s own size.')
    response_format: Literal["url", "b64_json"] | None = Field(
        None, description="Default: url, and b64_json for models called gpt-image."
    )
    output_format: Literal["png", "jpeg", "webp"] | None = Field(None, description="Default: png.")
    output_compression: int | None = Field(
        None, ge=0, le=100, description="Quality of base64 as JPEG or WebP, in percent. Default: 92."
    )
    quality: Text | None = Field(
        None,
        max_length=40,
        description="low, medium, high, xhigh, max, standard or hd: chooses a recipe where the model has a range.",
    )
    background: Text | None = Field(None, max_length=40, description="opaque or auto; transparent is refused.")
    stream: bool | None = Field(None, description="Answer with server-sent events; images are base64 then.")
    partial_images: int | None = Field(None, ge=0, le=3, description="Of a stream: previews of each image.")
    moderation: Text | None = Field(None, max_length=40, description="Has no effect.")
    style: Text | None = Field(None, max_length=40, description="Has no effect.")
    user: Text | None = Field(None, max_length=500, description="Has no effect.")

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, data: Any) -> Any:  # noqa: ANN401 -- any JSON value
        """Leave out the empty texts that forms send for what their user left out."""
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value != "" or name == "prompt"}

    @property
    def answers_base64(self) -> bool:
        """Whether the answer holds base64 rather than links."""
        if self.stream or self.response_format is not None:
            return bool(self.stream) or self.response_format == "b64_json"
        return self.model is not None and self.model.startswith(BASE64_ONLY)

    def job(
        self, catalogue: Catalogue, default: CatalogueModel, fields: Mapping[str, Any] = MappingProxyType({})
    ) -> tuple[JobRequest, list[str]]:
        """Return the job request, and a sentence for each field that has no effect here.

        `default`: the model for requests that name none. `fields` win over those of the request.
        """
        if self.background == "transparent":
            raise InvalidInput(
                "A transparent background is not offered: the models here paint every pixel. Send opaque or auto, or leave "
                "it out.",
                field="background",
                code="background_not_offered",
            )
        extra = self.model_extra or {}
        found: dict[str, Any] = {name: value for name, value in extra.items() if name in _JOB_FIELDS}
        found |= {"num_images": self.n} if self.n is not None else {}
        found |= {"size": self.size} if self.size not in (None, "auto") else {}
        model, warnings = self._model(catalogue)
        found |= {"model": model.id} if model is not None else {}
        recipe, said = chosen_recipe(self.quality, model or default, found)
        found |= recipe
        warnings += [said] if said else []
        return JobRequest.model_validate(found | dict(fields)), warnings + self._ignored(extra)

    def _model(self, catalogue: Catalogue) -> tuple[CatalogueModel | None, list[str]]:
        """Return our model, or None for the default: programs written for OpenAI name its models."""
        if not is_openai_model(self.model):
            return (catalogue.get(self.model) if self.model else None), []
        return None, [f"'{self.model}' is not served here: the farm's default model was used."]

    def _ignored(self, extra: dict[str, Any]) -> list[str]:
        found = [f"'{name}' has no effect here." for name in sorted(set(extra) - _JOB_FIELDS - _UNREAD)]
        sent = {**extra, **{name: getattr(self, name) for name in ("style", "background")}}
        found += [
            f"{name} '{sent[name]}' has no effect here." for name in _DEFAULTS if sent.get(name) not in _DEFAULTS[name]
        ]
        if self.output_compression is not None and not self.answers_base64:
            found.append("output_compression has no effect on links: ask for b64_json, or add &format=jpeg to a link.")
        if self.partial_images and not self.stream:
            found.append("partial_images has no effect without stream.")
        return found


class ImagesRequest(ImageOptions):
    """POST /v1/images/generations."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"prompt": "a red fox asleep in snow", "size": "512x512", "n": 1}]},
    )

    prompt: Text

    def job(
        self, catalogue: Catalogue, default: CatalogueModel, fields: Mapping[str, Any] = MappingProxyType({})
    ) -> tuple[JobRequest, list[str]]:
        """Return like `ImageOptions.job`, with the prompt."""
        return super().job(catalogue, default, {"prompt": self.prompt, **fields})


class ImageReference(NullableBody):
    """An image of a JSON request: a data URL, the link of an image of yours here, or the id of an upload or image."""

    model_config = ConfigDict(extra="ignore")

    image_url: str | None = Field(None, description="`data:image/png;base64,...`, or a link to an image of this farm.")
    file_id: Text | None = Field(None, max_length=36, description="Id of an upload or of an image of yours.")


class ImageEditRequest(ImagesRequest):
    """POST /v1/images/edits, its JSON form. A form (multipart) has files named `image` or `image[]`, and `mask`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [{"prompt": "a red hat", "images": [{"image_url": "data:image/png;base64,iVBO..."}]}]
        },
    )

    images: list[ImageReference] = Field(default_factory=list, max_length=16, description="The first one is edited.")
    mask: ImageReference | None = Field(None, description="PNG: what is transparent in it is repainted.")


class ImageVariationRequest(ImageOptions):
    """POST /v1/images/variations: the fields of its form beside the file `image`."""
