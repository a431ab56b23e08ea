"""Which picture format a client gets, by its Accept header."""

from __future__ import annotations

from core.errors import FarmError
from core.imagefile import MEDIA_TYPES, ImageFormat

FORMATS: dict[str, ImageFormat] = {kind: name for name, kind in MEDIA_TYPES.items()}


def stored_format(name: str) -> ImageFormat:
    """The format of a stored file, by its column."""
    return {"png": "png", "webp": "webp"}.get(name, "jpeg")  # type: ignore[return-value]


def negotiate(accept: str | None, stored: ImageFormat) -> ImageFormat:
    """The stored format unless another is asked for more strongly; FarmError `not_acceptable` when none will do.

    A wildcard that takes the stored format is as good as its name: browsers list WebP before `*/*;q=0.8` whenever they
    open or save a picture, and mean the file as it is.
    """
    if not accept:
        return stored
    wanted = _ranges(accept)
    best, best_weight = stored, _weight(MEDIA_TYPES[stored], wanted)
    if MEDIA_TYPES[stored] not in wanted and best_weight > 0:
        return stored
    for kind, name in FORMATS.items():
        if (weight := _weight(kind, wanted)) > best_weight:
            best, best_weight = name, weight
    if best_weight <= 0:
        raise FarmError(f"Pictures come as {', '.join(FORMATS)}: accept one of them.", code="not_acceptable")
    return best


def _ranges(accept: str) -> dict[str, float]:
    found = {}
    for part in accept.split(",")[:50]:
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        found[kind] = next((_quality(each[2:]) for each in parameters if each.startswith("q=")), 1.0)
    return found


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return min(max(value, 0.0), 1.0) if value == value else 0.0  # noqa: PLR0124 -- NaN is not itself


def _weight(kind: str, wanted: dict[str, float]) -> float:
    """The most specific range that names the type decides (RFC 9110, 12.5.1)."""
    return next((wanted[name] for name in (kind, "image/*", "*/*") if name in wanted), 0.0)
