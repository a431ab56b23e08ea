"""Response schemas of OpenAI's image API, with additional fields."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.schemas.base import ResponseBody


class GeneratedImage(ResponseBody):
    """One image: `url` or `b64_json`, never both; the other one is left out."""

    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None
    seed: int
    image_id: str


class InputTokens(ResponseBody):
    """Tokens of the request by what they stand for."""

    text_tokens: int
    image_tokens: int


class ImageUsage(ResponseBody):
    """Estimates, for clients that show them: a token is 4 bytes of text or 16x16 pixels of an image. Nothing is billed."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputTokens


class OpenAIImages(ResponseBody):
    """Generated, edited or varied images. `created` is in seconds since 1970."""

    created: int
    data: list[GeneratedImage]
    background: Literal["opaque"] = "opaque"
    output_format: str
    quality: str = Field(description="low, medium, high, xhigh or max: as sent, `medium` for every other value.")
    size: str
    usage: ImageUsage
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
