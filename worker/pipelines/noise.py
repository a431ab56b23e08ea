"""Draw starting noise: alone, mixed with that of a variation seed, or with the coarse structure of a smaller image's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from core.errors import InvalidInput
from core.render import NoiseSource, RenderRequest

MAX_DEPTH = 16
"""Of coherent noise whose parent's noise is coherent itself, and so on."""
_NEARLY_EQUAL = 0.9995


def generator_of(seed: int) -> torch.Generator:
    """Return a generator on the CPU, so that a seed gives the same noise on every device."""
    return torch.Generator("cpu").manual_seed(seed)


def slerp(strength: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Interpolate on the sphere between two noises, ... x h x w, in fp32 on the CPU: 0 is `low`, 1 is `high`, to the bit.

    As in AUTOMATIC1111's web UI (modules/rng.py), each column of each channel is turned by itself, so that the result has
    the same length as its ends: unit variance, unlike a linear mix.
    """
    if strength <= 0 or strength >= 1:
        return low if strength <= 0 else high
    first, second = low.float().cpu(), high.float().cpu()
    cosine = (first / first.norm(dim=-2, keepdim=True) * (second / second.norm(dim=-2, keepdim=True))).sum(-2, keepdim=True)
    if cosine.mean() > _NEARLY_EQUAL:
        return first * (1 - strength) + second * strength
    angle = torch.acos(cosine.clamp(-1, 1))
    weights = [torch.sin(share * angle) / torch.sin(angle) for share in (1 - strength, strength)]
    return weights[0] * first + weights[1] * second


def coherent(parent: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
    """Return white noise of the size of `fresh` whose block means are those of `parent`'s values; both are white, fp32.

    With k x k new values for each of the parent's, and up() repeating each value over its block:
    up(parent) / k + (fresh - up(blockmean(fresh))). The mean of k * k white values has the variance 1 / k^2 and does not
    depend on their differences from it, so a parent's value / k may take its place: the result is white again. It
    correlates with up(parent) by 1 / k, which is 0.5 at double size. Blocks need not be square: k * k is then their area.
    """
    rows, columns = fresh.shape[-2] // parent.shape[-2], fresh.shape[-1] // parent.shape[-1]
    block = (rows, columns)
    mean = functional.avg_pool2d(fresh, block)
    return fresh + _repeated(parent / (rows * columns) ** 0.5 - mean, block)


def _repeated(values: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    return values.repeat_interleave(block[0], dim=-2).repeat_interleave(block[1], dim=-1)


@dataclass(frozen=True)
class NoiseShape:
    """`channels` of the latents, `factor`: pixels per latent's side, `dtype`: in which the model's pipeline draws."""

    channels: int
    factor: int
    dtype: torch.dtype

    def draw(self, source: NoiseSource, generator: torch.Generator) -> torch.Tensor:
        """Draw 1 x channels x h x w in the model's dtype, as fp32 on the CPU."""
        size = (1, self.channels, source.height // self.factor, source.width // self.factor)
        return torch.randn(size, generator=generator, dtype=self.dtype).float()


def starting_noise(source: NoiseSource, generator: torch.Generator, shape: NoiseShape) -> torch.Tensor:
    """Return the noise of a text-to-image render, 1 x channels x h x w in fp32 on the CPU.

    `generator` is at the beginning of `source.generator_seed`; what the render draws later comes from it as well.
    Coherent noise first draws, and drops, as many values as its parent drew, so that a job with its parent's seed does not
    use the parent's values twice.
    """
    fresh = _drawn(source, generator, shape)
    if source.mixed_in is not None:
        fresh = slerp(source.variation_strength, fresh, _drawn(source, generator_of(source.mixed_in), shape))
    if (parent := source.coherent) is None:
        return fresh
    return coherent(starting_noise(parent, generator_of(parent.generator_seed), shape), fresh)


def _drawn(source: NoiseSource, generator: torch.Generator, shape: NoiseShape) -> torch.Tensor:
    if source.coherent is not None:
        shape.draw(source.coherent, generator)
    return shape.draw(source, generator)


def check_noise(request: RenderRequest, has_init_image: bool) -> None:
    """Raise InvalidInput for noise that cannot be drawn."""
    if not 0 <= request.variation_strength <= 1:
        raise InvalidInput(
            f"variation_strength must be 0 to 1; {request.variation_strength:g} is not.", field="variation_strength"
        )
    if request.coherent is not None and has_init_image:
        raise InvalidInput("Coherent noise is for text-to-image: send no input image with it.", field="coherent")
    source, depth = request.noise, 0
    while (parent := source.coherent) is not None:
        if source.width % parent.width or source.height % parent.height:
            raise InvalidInput(
                f"Coherent noise needs whole multiples of {parent.width}x{parent.height}; {source.width}x{source.height} is "
                "none.",
                field="width",
            )
        source, depth = parent, depth + 1
    if depth > MAX_DEPTH:
        raise InvalidInput(f"Noise is coherent over at most {MAX_DEPTH} images; this is number {depth}.", field="coherent")


def refuse_noise(request: RenderRequest) -> None:
    """Raise InvalidInput, for models whose pipelines draw their noise by themselves."""
    if not request.noise.is_plain or request.noise.generator_seed != request.seed:
        raise InvalidInput(
            "This model draws its noise by itself: send no variation seed, and choose another refinement than coherent.",
            field="variation_strength",
        )
