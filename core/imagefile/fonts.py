"""Fonts for the texts on sheets, and texts cut to lines that fit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_CJK = (
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "SourceHanSansSC-Regular.otf", "SourceHanSansCN-Regular.otf"),
    *("NotoSansSC-Regular.otf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf"),
    *("NotoSerifCJK-Regular.ttc", "NotoSansCJK-Bold.ttc", "NotoSerifCJK-Bold.ttc"),
    *("PingFang.ttc", "Hiragino Sans GB.ttc", "Arial Unicode.ttf", "msyh.ttc", "simhei.ttf", "simsun.ttc"),
)
_OTHERS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
_MORE = "..."
SIZE, LINE, _BASE = 14, 20, 15
"""Pixels: of the letters, from line to line, and from a line's top to where its letters stand, in every font."""


@lru_cache(maxsize=16)
def _found(names: tuple[str, ...], size: int) -> Font | None:
    """Return the first of these fonts that this machine has; Pillow searches the usual folders."""
    for name in names:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


@lru_cache(maxsize=16)
def built_in_font(size: int) -> Font:
    """Return Pillow's own font in `size` pixels, which covers Latin text."""
    return ImageFont.load_default(size)


def chinese_font(size: int) -> Font | None:
    """Return an installed font with Chinese characters in `size` pixels; None when there is none."""
    return _found(_CJK, size)


def font_for(text: str, size: int) -> Font:
    """Return a font that has the characters of a text, where this machine has one; else Pillow's own."""
    highest = max(text, default="")
    if highest <= "\u00ff":
        return built_in_font(size)
    names = (*_CJK, *_OTHERS) if highest >= "\u2e80" else (*_OTHERS, *_CJK)
    return _found(names, size) or built_in_font(size)


def drawable(text: str, font: Font) -> str:
    """Return a text in which characters that Pillow's own font lacks are question marks."""
    return (
        text.encode("latin-1", "replace").decode("latin-1") if font is built_in_font(int(getattr(font, "size", 0))) else text
    )


def lines_within(text: str, font: Font, width: int, most: int) -> list[str]:
    """Break a text into at most `most` lines of `width` pixels, at blanks if there are any; end a longer one with `...`."""
    lines: list[str] = []
    paragraphs = text.split("\n")
    for number, paragraph in enumerate(paragraphs, 1):
        room = most - len(lines) - (len(paragraphs) - number)  # the others keep a line each
        found = _broken(" ".join(paragraph.split()), font, width, max(room, 1) + 1)
        if len(found) > max(room, 1):
            found = [*found[: max(room, 1) - 1], _ended(found[max(room, 1) - 1], font, width)]
        lines += found
    return lines[:most]


def _ended(line: str, font: Font, width: int) -> str:
    """Return a line with `...` at its end."""
    while line and font.getlength(line + _MORE) > width:
        line = line[:-1]
    return line.rstrip() + _MORE


def _broken(text: str, font: Font, width: int, most: int) -> list[str]:
    lines: list[str] = []
    while text and len(lines) < most:
        end = _fitting(text, font, width)
        if end < len(text) and (blank := text.rfind(" ", 1, end + 1)) > end // 3:  # a longer word is cut
            end = blank
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return lines


def _fitting(text: str, font: Font, width: int) -> int:
    """Return how many characters fit, at least one."""
    low, high = 1, min(len(text), width)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low


def write_lines(draw: ImageDraw.ImageDraw, lines: Sequence[str], x: int, y: int, colour: tuple[int, int, int]) -> None:
    """Draw lines below each other from (x, y), each in a font that has its characters."""
    for number, line in enumerate(lines):
        font = font_for(line, SIZE)
        draw.text((x, y + number * LINE + _BASE), drawable(line, font), fill=colour, font=font, anchor="ls")
