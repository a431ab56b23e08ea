"""Refuse JPEGs whose segments or scans would keep a processor busy: each costs time, however small it is."""

from __future__ import annotations

import re

_START = b"\xff\xd8"
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
"""A marker that is neither an escaped byte of a scan, a restart within one, nor padding."""
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MAX_SEGMENTS = 10_000
_MAX_STRAY_BYTES = 100_000
"""Bytes between segments, which Pillow passes over one at a time."""
_MAX_SCANS = 50
"""Programs write up to a dozen. Each scan is a pass over all pixels: 0.1 s for 64 megapixels, from 100 bytes of the file."""


def check_segments(data: bytes) -> None:
    """Raise ValueError for a JPEG with more segments, bytes between them or scans than any program writes.

    Other formats, and files that are cut off, pass. Source of the bound on scans: libjpeg-turbo's
    "Two Issues with the JPEG Standard".
    """
    if not data.startswith(_START):
        return
    position, segments, scans, stray = len(_START), 0, 0, 0
    while (found := _MARKER.search(data, position)) is not None:
        segments += 1
        if not scans:
            stray += found.start() - position
        scans += data[found.start() + 1] == _START_OF_SCAN
        if segments > _MAX_SEGMENTS or stray > _MAX_STRAY_BYTES or scans > _MAX_SCANS:
            raise ValueError("it has more JPEG segments than any program writes")
        if data[found.start() + 1] == _END_OF_IMAGE:
            return
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    if not scans and len(data) - position > _MAX_STRAY_BYTES:
        raise ValueError("it has no image data")
