"""List, add, change, remove, import and export styles."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from core.schemas.styles import Style, StyleImported, StyleList
from core.styles.files import StyleFormat
from imagefarm.transport import Transport

PATH = "/v1/styles"


class Styles:
    """The calls about styles, as `ImageFarm.styles`. Shared styles need the scope admin."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> StyleList:
        """Return your own styles, the shared ones and the built-in ones."""
        return self._transport.read(StyleList, "GET", PATH)

    def add(self, name: str, prompt: str = "", negative_prompt: str = "", *, shared: bool = False) -> Style:
        """Add a style. Raises Conflict `style_exists`."""
        body = {"name": name, "prompt": prompt, "negative_prompt": negative_prompt, "shared": shared}
        return self._transport.read(Style, "POST", PATH, json=body, repeatable=False)

    def replace(self, style: Style | str, name: str, prompt: str = "", negative_prompt: str = "") -> Style:
        """Change a style's name and texts. Raises NotFound, Conflict."""
        body = {"name": name, "prompt": prompt, "negative_prompt": negative_prompt}
        return self._transport.read(Style, "PUT", _path(style), json=body)

    def remove(self, style: Style | str) -> None:
        """Delete a style. Raises NotFound."""
        self._transport.send("DELETE", _path(style), repeatable=False)

    def import_text(self, text: str, format: StyleFormat, *, replace: bool = False, shared: bool = False) -> StyleImported:
        """Import what a file of A1111 or Fooocus holds. Raises InvalidInput `styles_invalid`."""
        body = {"text": text, "format": format, "replace": replace, "shared": shared}
        return self._transport.read(StyleImported, "POST", f"{PATH}/import", json=body)

    def export(self, format: StyleFormat = "a1111", scope: Literal["own", "shared", "all"] = "own") -> str:
        """Return the text of a file for A1111 or Fooocus."""
        params = {"format": format, "scope": scope}
        return self._transport.send("GET", f"{PATH}/export", params=params, headers={"Accept": "*/*"}).text


def _path(style: Style | str) -> str:
    return f"{PATH}/{quote(style if isinstance(style, str) else style.id, safe='')}"
