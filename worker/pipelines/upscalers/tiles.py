"""Cut an image into tiles with a halo, so that the result does not depend on the tiles."""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are outside."""


@dataclass(frozen=True)
class Tile:
    """`inner` is what the tile contributes; `outer` adds the halo, cut at the image's edges."""

    inner: Box
    outer: Box

    @property
    def inner_in_outer(self) -> Box:
        left, top = self.outer[:2]
        return (self.inner[0] - left, self.inner[1] - top, self.inner[2] - left, self.inner[3] - top)


def cut(width: int, height: int, inner: int, halo: int) -> tuple[Tile, ...]:
    """Return tiles that cover the image row by row; their origins are multiples of gcd(`inner`, `halo`)."""
    return tuple(
        Tile(
            (left, top, min(left + inner, width), min(top + inner, height)),
            (
                max(left - halo, 0),
                max(top - halo, 0),
                min(left + inner + halo, width),
                min(top + inner + halo, height),
            ),
        )
        for top in range(0, height, inner)
        for left in range(0, width, inner)
    )


def scaled(box: Box, factor: int) -> Box:
    """Return the box in an image `factor` times as large."""
    left, top, right, bottom = box
    return (left * factor, top * factor, right * factor, bottom * factor)
