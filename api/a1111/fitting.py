"""Map A1111's sizes, seeds and steps to those that a model takes, and report what was changed."""

from __future__ import annotations

from dataclasses import dataclass

from core.catalogue import CatalogueModel, Limits
from core.parameters.seeds import RANDOM_SEED
from core.render import MAX_SEED


@dataclass(frozen=True)
class Fitted:
    """A size to render, and the one to cut from its middle; equal where the model renders what was asked."""

    width: int
    height: int
    cut_width: int
    cut_height: int

    @property
    def is_cut(self) -> bool:
        """Whether the image is larger than what was asked."""
        return (self.cut_width, self.cut_height) != (self.width, self.height)


def fit_size(width: int, height: int, limits: Limits) -> Fitted:
    """Return the next size that the model renders: rounded up and cut afterwards, or down at the largest area."""
    up = _up(width, limits), _up(height, limits)
    if up[0] * up[1] > limits.max_pixels >= width * height:
        up = _down(width, limits), _down(height, limits)
    return Fitted(up[0], up[1], min(width, up[0]), min(height, up[1]))


def _up(side: int, limits: Limits) -> int:
    """Return the side rounded up; sides beyond the limits stay as they are, to be refused with the limits."""
    if not 1 <= side <= limits.max_side:
        return side
    rounded = -(-max(side, limits.min_side) // limits.multiple) * limits.multiple
    return rounded if rounded <= limits.max_side else _down(side, limits)


def _down(side: int, limits: Limits) -> int:
    return max(side, limits.min_side) // limits.multiple * limits.multiple


def size_warning(width: int, height: int, fitted: Fitted, model: str) -> str:
    """Return a sentence on a size that differs from the one that was asked; empty for the same."""
    if (fitted.width, fitted.height) == (width, height):
        return ""
    cut = f" and cut to {fitted.cut_width}x{fitted.cut_height}" if fitted.is_cut else ""
    return f"{model} does not render {width}x{height}: it was rendered at {fitted.width}x{fitted.height}{cut}."


def map_seed(seed: int | None, images: int, name: str = "seed") -> tuple[int, str]:
    """Return a seed that the farm takes, and a sentence if it is another one: A1111's go to 2^63, ours to 2^32 - 1."""
    if seed is None or seed == RANDOM_SEED:
        return RANDOM_SEED, ""
    highest = MAX_SEED - max(images, 1) + 1
    if 0 <= seed <= highest:
        return seed, ""
    mapped = seed % (max(highest, 0) + 1)
    return mapped, f"{name} {seed} is outside of 0 to {highest}: {mapped} was used in its place."


def fit_steps(steps: int | None, model: CatalogueModel) -> tuple[int | None, str]:
    """Return the steps within the model's limit, and a sentence if they are fewer."""
    limit = model.limits.max_steps
    if steps is None or steps <= limit:
        return steps, ""
    return limit, f"{model.id} takes at most {limit} steps: {steps} were asked."


def fit_strength(denoising: float | None, steps: int) -> tuple[float | None, str]:
    """Return a strength that leaves at least one of `steps`, and a sentence if it is not the one that was asked.

    A1111 runs one step even at 0.
    """
    least = min(round(1 / max(steps, 1) + 0.0005, 4), 1.0)  # Products of 1 / steps and steps may be just below 1.
    if denoising is None or denoising >= least or denoising < 0:
        return denoising, ""
    return least, f"denoising_strength {denoising:g} leaves no step of {steps}: {least:g} was used, which is one step."
