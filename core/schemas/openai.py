"""Response schemas of OpenAI's image API, with additional fields."""

from __future__ import annotations

from core.schemas.base import ResponseBody


class GeneratedImage(ResponseBody):
    """One image: `url` or `b64_json`, by the request's `response_format`."""

    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None
    seed: int
    image_id: str


class ImagesAnswer(ResponseBody):
    """POST /v1/images/generations. `created` is in seconds since 1970."""

    created: int
    data: list[GeneratedImage]
    output_format: str
    size: str
    job_id: str
    model: str
    warnings: list[str]
    notice: str | None = None


class OpenAIErrorBody(ResponseBody):
    """The error; `job_id` and `job_url` are set when the job is still running."""

    message: str
    type: str
    param: str | None
    code: str | None
    job_id: str | None = None
    job_url: str | None = None


class OpenAIError(ResponseBody):
    """An error as OpenAI's clients expect it."""

    error: OpenAIErrorBody
