"""An estimate of what a tier needs on a device: weights that stay there, a pass, a decode."""

from __future__ import annotations

from dataclasses import dataclass

PATCH = 16
"""Side in pixels of the square that one token stands for."""


@dataclass(frozen=True)
class Estimate:
    """Bytes. `device` and `host` are weights by component; the rest is activations of one pass, before correction.

    `unpacked`: of a weight while it is used. `decode_per_pixel` is of a tile, `picture_per_pixel` of the whole.
    """

    device: dict[str, int]
    host: dict[str, int]
    per_token: float
    decode_per_pixel: float
    tile_pixels: int | None
    correction: float = 1.0
    caption_tokens: int = 0
    unpacked: int = 0
    picture_per_pixel: float = 0.0

    @property
    def resident(self) -> int:
        """Weights on the device all the time."""
        return sum(self.device.values())

    @property
    def host_total(self) -> int:
        """Weights in host memory all the time."""
        return sum(self.host.values())

    def activations(self, width: int, height: int, copies: int = 1) -> int:
        """Of `copies` pictures (a CFG pair is two) in one pass and one decode; the larger counts: they take turns."""
        return max(self.tokens_bytes(self.picture_tokens(width, height, copies)), self.decode_bytes(width, height))

    def picture_tokens(self, width: int, height: int, copies: int = 1) -> int:
        """What such a picture adds to a pass at most: with the longest caption."""
        return (tokens(width, height) + self.caption_tokens) * copies

    def tokens_bytes(self, count: int) -> int:
        """Activations of a forward pass over that many tokens."""
        return int((count * self.per_token + self.unpacked) * self.correction)

    def tokens_within(self, room: int) -> int:
        """The most tokens whose pass needs no more than those bytes; 0 where none does."""
        return max(int((room / self.correction - self.unpacked) / self.per_token), 0)

    def decode_bytes(self, width: int, height: int) -> int:
        """Of decoding one picture, in tiles where the tier says so."""
        pixels = width * height
        tile = pixels if self.tile_pixels is None else min(pixels, self.tile_pixels)
        return int((tile * self.decode_per_pixel + pixels * self.picture_per_pixel) * self.correction)

    def peak(self, width: int, height: int, copies: int = 1) -> int:
        """Device memory at the worst moment of rendering such pictures."""
        return self.resident + self.activations(width, height, copies)


def tokens(width: int, height: int) -> int:
    """Patches of a picture, in whole ones."""
    return -(-width // PATCH) * -(-height // PATCH)
