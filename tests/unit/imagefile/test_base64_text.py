"""Base64 is taken in every form in which clients write it."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from core.errors import InvalidInput
from core.imagefile import decode_base64_image

DATA = bytes(range(256)) + b"\xfb"
"""Its base64 holds both characters that differ in the URL-safe alphabet, and padding."""
PLAIN = base64.b64encode(DATA).decode()

FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "lines of MIME": lambda _: base64.encodebytes(DATA).decode(),
    "lines of Windows": lambda _: base64.encodebytes(DATA).decode().replace("\n", "\r\n"),
    "spaces around": lambda text: f"  {text}\n",
    "no padding": lambda text: text.rstrip("="),
    "too much padding": lambda text: text + "==",
    "URL-safe": lambda _: base64.urlsafe_b64encode(DATA).decode(),
    "URL-safe without padding": lambda _: base64.urlsafe_b64encode(DATA).decode().rstrip("="),
    "data URL": lambda text: f"data:image/png;base64,{text}",
    "data URL in capitals": lambda text: f"DATA:IMAGE/PNG;BASE64,{text}",
    "data URL with parameters": lambda text: f"data:image/png;name=a%20b.png;charset=utf-8;base64,{text}",
    "data URL without a type": lambda text: f"data:;base64,{text}",
    "data URL, escaped": lambda text: "data:image/png;base64," + text.replace("+", "%2B").replace("=", "%3D"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_base64_gives_the_same_bytes(form: Callable[[str], str]) -> None:
    assert "+" in PLAIN and "/" in PLAIN and PLAIN.endswith("=") and form(PLAIN)
    assert decode_base64_image(form(PLAIN), "image") == DATA


@pytest.mark.parametrize(
    "text", ["", "data:", "data:image/png;base64,", "a", "caf\u00e9", "a*b=", "https://example.com/a.png"]
)
def test_anything_else_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidInput, match="base64") as caught:
        decode_base64_image(text, "init_images")
    assert (caught.value.field, caught.value.code) == ("init_images", "image_format")
