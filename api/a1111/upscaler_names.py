"""Upscalers by the names that A1111 gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from core.catalogue.upscalers import LANCZOS, Upscaler
from core.errors import InvalidInput

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "realesrgan-x4plus": "R-ESRGAN 4x+",
        "realesrgan-x4plus-anime": "R-ESRGAN 4x+ Anime6B",
        "realesr-animevideov3": "R-ESRGAN AnimeVideo",
        LANCZOS: "Lanczos",
    }
)
"""Our id -> A1111's name; others are listed by their title."""
NONE, NEAREST = "None", "Nearest"
_RESAMPLING = (NONE, "Lanczos", NEAREST)


def name_of(upscaler: Upscaler) -> str:
    """Return the name to list."""
    return NAMES.get(upscaler.id, upscaler.title)


def upscaler_of(name: str | None, known: Iterable[Upscaler]) -> tuple[str, str]:
    """Return the id of an upscaler that a client names, and a sentence if another one was taken.

    Resampling and A1111's latent modes are Lanczos. Raises InvalidInput `unknown_upscaler` for a name that is not listed.
    """
    if name is None or name == "" or name in _RESAMPLING:
        said = f"upscaler '{name}' is Lanczos here." if name == NEAREST else ""
        return LANCZOS, said
    if name.lower().startswith("latent"):
        return LANCZOS, f"upscaler '{name}' is Lanczos here, on pixels."
    rows = list(known)
    for row in rows:
        if name.lower() in (row.id, row.title.lower(), name_of(row).lower()):
            return row.id, ""
    listed = ", ".join([NONE, *(name_of(row) for row in rows)])
    raise InvalidInput(
        f"There is no upscaler called '{name}'. Known upscalers: {listed}.", field="upscaler", code="unknown_upscaler"
    )
