"""Normalise requests to complete render parameters: defaults, presets, sizes, seeds, limits, warnings."""

from core.parameters.normalise import Normalised, RequestLimits, normalise
from core.parameters.parameters import InitImage, InvalidParameters, MaskImage, RenderParameters

__all__ = [
    "InitImage",
    "InvalidParameters",
    "MaskImage",
    "Normalised",
    "RenderParameters",
    "RequestLimits",
    "normalise",
]
