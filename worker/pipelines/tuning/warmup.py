"""Render warm-up requests before the first real one: compare implementations and warm up compilers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from core.catalogue import CatalogueModel
from core.errors import RenderError
from core.render import RenderRequest
from worker.device.faults import is_broken_device, is_out_of_memory
from worker.device.torch_device import free_cached_memory
from worker.memory.estimate import tokens
from worker.pipelines.family import AnyFamily

log = logging.getLogger(__name__)
STEPS = 2
SHORT = "a lighthouse at dusk"
MIDDLE, LONG = (" and ".join([SHORT] * times) for times in (8, 20))
"""Prompts whose captions have longer padded lengths than SHORT's, in any tokenizer."""
OnProgress = Callable[[str, float | None], None]


@dataclass(frozen=True)
class WarmupResult:
    """`seconds`: the fastest step, with the device synchronised. `images`: uint8, height x width x 3, on the CPU."""

    seconds: float
    images: list[torch.Tensor]

    def distance(self, other: WarmupResult) -> float:
        """Return the mean difference in grey levels of the pair of images that differ most."""
        pairs = zip(self.images, other.images, strict=True)
        return max(float((first.float() - second.float()).abs().mean()) for first, second in pairs)


@dataclass(frozen=True)
class Warmup:
    """Renders with the model to be served. `token_budget`: tokens that one pass may hold."""

    family: AnyFamily
    model: CatalogueModel
    device: torch.device
    token_budget: int

    @torch.no_grad()
    def render(self, requests: Sequence[RenderRequest]) -> WarmupResult:
        """Render all requests in one pass; raises the family's errors."""
        samples = [self.family.start(request, self.family.encode(request), b"") for request in requests]
        try:
            seconds = min(self._step(samples) for _ in range(STEPS))
            return WarmupResult(seconds, [self.family.decode(sample).cpu() for sample in samples])
        finally:
            for sample in samples:
                self.family.close(sample)

    def _step(self, samples: Sequence[object]) -> float:
        self._synchronize()
        started = time.perf_counter()
        self.family.step(samples)
        self._synchronize()
        return time.perf_counter() - started

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def usual(self) -> RenderRequest:
        """Return a request of the model's default size and guidance."""
        return self._request(self.model.defaults.width, self.model.defaults.height)

    def smallest(self) -> RenderRequest:
        """Return a request of 128x128 without guidance, for a device that takes long for the usual one."""
        return self._request(128, 128, guidance_scale=1.0)

    def masked(self) -> RenderRequest:
        """Return a guidance pair whose captions differ in length, which families that pad within a pass have to mask."""
        return self._guided(LONG)

    def passes(self) -> list[list[RenderRequest]]:
        """Return likely first passes: the default size and 512x512, alone and in pairs that fit; other captions.

        A compiler makes one graph for the first length, and one for all lengths once it has seen others.
        """
        default = self.model.defaults.width, self.model.defaults.height
        found = []
        for size in dict.fromkeys((default, (512, 512))):
            found.append([self._request(*size)])
            if self._pairs(*size):
                found.append([self._request(*size, seed=seed) for seed in range(2)])
        found += [[self._request(512, 512, prompt=prompt)] for prompt in (LONG, MIDDLE)]
        if self._pairs(512, 512):
            found.append([self._request(512, 512, prompt=LONG, seed=seed) for seed in range(2)])
        return [*found, *self._guided_passes()]

    def _guided_passes(self) -> list[list[RenderRequest]]:
        """Return pairs with captions of different length, which need a mask, and of equal length; two such pairs."""
        if self.family.max_samples == 1:
            return [[self.masked()]]
        two = [self._guided(LONG, pairs=2, seed=seed) for seed in range(2)]
        return [[self.masked()], [self._guided(MIDDLE)], [self._guided(SHORT)], two]

    def _guided(self, prompt: str, pairs: int = 1, seed: int = 0) -> RenderRequest:
        """Return a guided request of the default size, or a smaller one if so many pairs do not fit in a pass."""
        default = self.model.defaults.width, self.model.defaults.height
        fitting = [size for size in (default, (512, 512)) if 2 * pairs * tokens(*size) <= self.token_budget]
        width, height = fitting[0] if fitting else (256, 256)
        return self._request(width, height, prompt=prompt, negative_prompt=SHORT, guidance_scale=2.0, seed=seed)

    def _pairs(self, width: int, height: int) -> bool:
        rows = 4 if self.model.defaults.guidance_scale > 1.0 else 2
        return (self.family.max_samples or 2) >= 2 and rows * tokens(width, height) <= self.token_budget

    def _request(
        self,
        width: int,
        height: int,
        prompt: str = SHORT,
        negative_prompt: str = "",
        guidance_scale: float | None = None,
        seed: int = 0,
    ) -> RenderRequest:
        return RenderRequest(
            id=f"warm-up/1/{seed}",
            prompt=prompt,
            negative_prompt=negative_prompt,
            width=width,
            height=height,
            num_inference_steps=STEPS,
            guidance_scale=self.model.defaults.guidance_scale if guidance_scale is None else guidance_scale,
            seed=seed,
        )


def raise_if_device_broken(error: Exception, what: str, advice: str) -> None:
    """Raise RenderError `invalid_input` if a trial broke the device: it is not retried, since each load would break it."""
    if is_broken_device(error):
        raise RenderError(f"Trying {what} broke the device: {error}. {advice}", code="invalid_input") from error


def warm_up(warmup: Warmup, on_progress: OnProgress) -> None:
    """Render each warm-up pass once, so that no request waits for compilers and kernels."""
    passes = warmup.passes()
    for index, requests in enumerate(passes):
        on_progress("warming up", index / len(passes))
        if not _render_fits(warmup, requests):
            free_cached_memory()
    on_progress("warming up", 1.0)


def _render_fits(warmup: Warmup, requests: Sequence[RenderRequest]) -> bool:
    """Render the requests; return False if several did not fit at once, which the loop handles, too."""
    try:
        warmup.render(requests)
    except Exception as error:
        if len(requests) == 1 or not is_out_of_memory(error):
            raise
        log.warning("%d images of %d px do not fit in one pass: %s", len(requests), requests[0].width, error)
        return False
    return True
