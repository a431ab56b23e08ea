"""Find fonts for labels in images: Pillow's own for Latin text, an installed one for Chinese."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_NAMES = (
    "noto*sans*cjk",
    "sourcehansans",
    "noto*sc",
    "wqy",
    "msyh",
    "pingfang",
    "simhei",
    "droidsansfallback",
    "noto*cjk",
    "simsun",
)
"""Fonts with Chinese characters, as patterns of file names without case, best first."""
_ENDINGS = (".ttf", ".ttc", ".otf")


def label_font(size: int) -> Font:
    """Return Pillow's built-in font in `size` pixels, which covers Latin text."""
    return ImageFont.load_default(size)


def chinese_font(size: int) -> Font | None:
    """Return an installed font with Chinese characters in `size` pixels; None when there is none."""
    path = _chinese_file()
    try:
        return ImageFont.truetype(str(path), size) if path is not None else None
    except OSError:
        return None


@cache
def _chinese_file() -> Path | None:
    found = [path for folder in _folders() for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS]
    for pattern in _NAMES:
        matching = [path for path in found if Path(path.name.lower()).match(f"{pattern}*")]
        if matching:
            regular = [path for path in matching if "regular" in path.name.lower()]
            return sorted(regular or matching)[0]
    return None


def _folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "win32":
        folders = [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"]
    elif sys.platform == "darwin":
        folders = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    else:
        folders = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts", home / ".fonts"]
    return [folder for folder in folders if folder.is_dir()]
