"""Write an image to a PNG file band by band, from the top, with a reduced copy made on the way."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.imagefile.png_chunks import SIGNATURE
from core.imagefile.png_file import chunk

Rows: TypeAlias = npt.NDArray[np.uint8]
"""uint8, height x width x channels; 3 channels are RGB, 4 RGBA."""
_STRIP_BYTES = 2 * 2**20
"""Filtered at a time: the filters take some ten times as much memory."""
_IDAT_BYTES = 256 * 2**10
_NOTHING, _SUB, _UP, _PAETH = 0, 1, 2, 4
_COLOR_TYPES = {3: 2, 4: 6}


class PngRows:
    """A PNG file in progress; memory does not depend on the image's height. Methods raise OSError."""

    def __init__(self, file: Path, width: int, height: int, channels: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._channels = file, channels
        self._above: Rows = np.zeros((1, width * channels), np.uint8)
        self._left = height
        self._compressor = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
        self._pending = bytearray()
        self._file = file.open("wb")
        header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
        self._file.write(SIGNATURE + chunk(b"IHDR", header))

    def write(self, rows: Rows) -> None:
        """Append rows, height x width x channels; the last ones end the file."""
        flat = rows.reshape(len(rows), -1)
        step = max(_STRIP_BYTES // flat.shape[1], 1)
        for start in range(0, len(flat), step):
            strip = flat[start : start + step]
            self._add(self._compressor.compress(_filtered(strip, self._above, self._channels)))
            self._above = strip[-1:].copy()
        self._left -= len(flat)
        if self._left <= 0:
            self._add(self._compressor.flush(), last=True)
            self._file.write(chunk(b"IEND", b""))
            self._file.close()

    @property
    def is_complete(self) -> bool:
        return self._left <= 0

    def discard(self) -> None:
        """Delete the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _add(self, data: bytes, last: bool = False) -> None:
        self._pending += data
        if self._pending and (last or len(self._pending) >= _IDAT_BYTES):
            self._file.write(chunk(b"IDAT", bytes(self._pending)))
            self._pending.clear()


def _filtered(rows: Rows, above: Rows, channels: int) -> bytes:
    """Return the rows with PNG's filter bytes; each row gets the filter with the smallest sum of absolute differences."""
    up = np.concatenate([above, rows[:-1]]).astype(np.int16)
    here = rows.astype(np.int16)
    left, up_left = _shifted(here, channels), _shifted(up, channels)
    candidates = [(_SUB, left), (_UP, up), (_PAETH, _paeth(left, up, up_left))]
    coded = [(here - predicted).astype(np.uint8) for _, predicted in candidates]
    cost = np.stack([np.abs(each.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for each in coded])
    best = cost.argmin(axis=0)
    result = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    result[:, 0] = np.array([kind for kind, _ in candidates], np.uint8)[best]
    for number, each in enumerate(coded):
        result[best == number, 1:] = each[best == number]
    return result.tobytes()


def _shifted(rows: npt.NDArray[np.int16], channels: int) -> npt.NDArray[np.int16]:
    """Return each row's pixels to the left of its own; 0 before the first."""
    moved = np.zeros_like(rows)
    moved[:, channels:] = rows[:, :-channels]
    return moved


def _paeth(left: npt.NDArray[np.int16], up: npt.NDArray[np.int16], up_left: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Return PNG's Paeth predictor: the neighbour that is nearest to left + up - up_left."""
    to_left, to_up = np.abs(up - up_left), np.abs(left - up_left)
    to_corner = np.abs(left + up - 2 * up_left)
    nearest = np.where(to_up <= to_corner, up, up_left)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)


class ReducedRows:
    """Collects a reduced copy of an image that arrives band by band, by averaging squares of pixels."""

    def __init__(self, width: int, height: int, max_side: int) -> None:
        self._factor = -(-max(width, height) // max_side)
        self._waiting: Rows | None = None
        self._parts: list[Rows] = []

    def add(self, rows: Rows) -> None:
        """Take the next rows, height x width x channels."""
        all_rows = rows if self._waiting is None else np.concatenate([self._waiting, rows])
        whole = len(all_rows) // self._factor * self._factor
        if whole:
            self._parts.append(self._reduced(all_rows[:whole]))
        self._waiting = all_rows[whole:].copy()

    def image(self) -> Image.Image:
        """Return the copy of all rows so far, RGB or RGBA."""
        rest = [] if self._waiting is None or not len(self._waiting) else [self._reduced(self._waiting)]
        return Image.fromarray(np.concatenate([*self._parts, *rest]))

    def webp(self, xmp: bytes) -> bytes:
        """Return the copy as WebP with that XMP packet."""
        file = BytesIO()
        self.image().save(file, "WEBP", quality=90, method=3, xmp=xmp)
        return file.getvalue()

    def _reduced(self, rows: Rows) -> Rows:
        return np.asarray(Image.fromarray(np.ascontiguousarray(rows)).reduce(self._factor))
