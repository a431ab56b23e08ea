"""Schemas of styles."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, model_validator

from core.schemas.base import RequestBody, ResponseBody, Text
from core.styles.styles import MAX_NAME, MAX_TEXT

_EXAMPLE: dict[str, JsonValue] = {
    "name": "ink",
    "prompt": "ink drawing of {prompt}, black and white",
    "negative_prompt": "colour",
}


def _name(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not text:
        raise ValueError("must be printable, not empty, and without blanks around it")
    return text


StyleName = Annotated[Text, Field(max_length=MAX_NAME), AfterValidator(_name)]
StyleText = Annotated[Text, Field(max_length=MAX_TEXT)]


class StyleFields(RequestBody):
    """The texts of a style."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: StyleName
    prompt: StyleText = Field("", description="Takes the prompt in place of `{prompt}`; without it, is appended.")
    negative_prompt: StyleText = Field("", description="The same for the negative prompt.")

    @model_validator(mode="after")
    def _has_a_text(self) -> StyleFields:
        if not self.prompt.strip() and not self.negative_prompt.strip():
            raise ValueError("has no text: send prompt or negative_prompt")
        return self


class StyleRequest(StyleFields):
    """POST /v1/styles."""

    shared: bool = Field(False, description="For every caller; needs the scope admin.")


class StyleImport(RequestBody):
    """POST /v1/styles/import: the text of a file with styles."""

    format: Literal["a1111", "fooocus"] = Field(description="a1111: CSV; fooocus: a JSON list.")
    text: Text = Field(description="What the file holds.")
    replace: bool = Field(False, description="Replace styles of the same name; otherwise they are kept.")
    shared: bool = Field(False, description="For every caller; needs the scope admin.")


class StyleImported(ResponseBody):
    """Names by what happened to them."""

    added: list[str]
    replaced: list[str]
    kept: list[str] = Field(description="There was a style of that name, and `replace` was not sent.")


class Style(ResponseBody):
    """A style. A job that names it gets the caller's own before a shared one, and that before a built-in one."""

    id: str
    name: str
    prompt: str
    negative_prompt: str
    scope: Literal["own", "shared", "built-in"]
    about: str | None = None
    updated_at: datetime | None = None


class StyleList(ResponseBody):
    """GET /v1/styles."""

    items: list[Style]
