"""Run one image's start, steps and decode through the farm's code, and record their allocations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.simulated_memory.counting import Allocations
from benchmarks.simulated_memory.cuda_like import CudaLike
from benchmarks.simulated_memory.model import DTYPE, META, family_over, pipeline_in, true_sizes
from benchmarks.simulated_memory.pool import Pool
from core.render import RenderRequest
from worker.memory.estimate import Estimate, estimate
from worker.memory.tiers import Tier
from worker.pipelines.z_image.family import ZImageFamily
from worker.pipelines.z_image.sample import Captions
from worker.pipelines.z_image.text import MAX_SEQUENCE_LENGTH

Blend = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
CAPTION_WIDTH = 2560
STEPS = 2
"""All later steps allocate like the second."""
BLENDED_LINES = 2
"""Of two tiles of a decode. Each line allocates the same and frees it; all would take a third of a simulation's time."""


@dataclass(frozen=True)
class Case:
    """A square of `side` pixels, with the longest captions; `rows`: 2 with guidance."""

    side: int
    rows: int = 1


@dataclass(frozen=True)
class Simulated:
    """Bytes. `step` and `decode`: beyond the weights. `reserved`: by the allocator's pools, with nothing released."""

    case: Case
    weights: int
    step: int
    decode: int
    reserved: int

    @property
    def total(self) -> int:
        """Peak of one image."""
        return self.weights + max(self.step, self.decode)


def simulate(
    tier: Tier,
    cases: Sequence[Case],
    packed_matmul: bool = False,
    limit: int | None = None,
    blocks: int | None = None,
    stored: str = "",
) -> Iterator[Simulated]:
    """Simulate the cases one after another on the same GPU of `limit` bytes; raise GpuFull if they do not fit.

    `blocks`: how many of the main blocks to run. They are equal, so a few show what all would. `stored`: the type of the
    transformer's matrices in a packed file.
    For a tier with a streamed denoiser, weights are the plan's, not simulated, and `reserved` is 0.
    """
    allocations = Allocations(Pool(limit))
    pipeline = pipeline_in(tier, packed_matmul, stored)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            allocations.note_weights(part)
    resident = tier.denoiser_place == "device"
    weights = allocations.now if resident else planned(tier, stored).resident
    del pipeline.transformer.layers[len(pipeline.transformer.layers) if blocks is None else blocks :]
    for name in ("blend_v", "blend_h"):
        setattr(pipeline.vae, name, _with_few_lines(getattr(pipeline.vae, name)))
    family = family_over(pipeline)
    for case in cases:
        step, decode, reserved = _render(family, allocations, case)
        yield Simulated(case, weights, step, decode, reserved if resident else 0)


def _with_few_lines(blend: Blend) -> Blend:
    """Return the decoder's function for blending two tiles, but for a few lines."""
    return lambda first, second, extent: blend(first, second, min(extent, BLENDED_LINES))


def planned(tier: Tier, stored: str = "") -> Estimate:
    """Return the estimate that the farm would plan with."""
    return estimate(tier, true_sizes(stored), "z-image", "bfloat16")


def _render(family: ZImageFamily, allocations: Allocations, case: Case) -> tuple[int, int, int]:
    if allocations.pool.limit is None:
        allocations.pool.empty_cache()
    before = allocations.now
    with CudaLike(), allocations:
        request = _request(case)
        with allocations.watched() as steps:
            sample = family.start(request, _captions(case), b"")
            for _ in range(STEPS):
                family.step([sample])
        with allocations.watched() as decode:
            family.decode(sample)
        family.close(sample)
    return steps.highest - before, decode.highest - before, allocations.pool.highest


def _request(case: Case) -> RenderRequest:
    return RenderRequest(
        id="simulated/1/0",
        prompt="",
        width=case.side,
        height=case.side,
        num_inference_steps=STEPS,
        seed=0,
        guidance_scale=float(case.rows),
    )


def _captions(case: Case) -> Captions:
    each = [torch.empty(MAX_SEQUENCE_LENGTH, CAPTION_WIDTH, dtype=DTYPE, device=META) for _ in range(case.rows)]
    return Captions(each[0], each[1] if case.rows == 2 else None)
