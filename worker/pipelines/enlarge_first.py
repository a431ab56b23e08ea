"""Enlarge the start image of a refinement with an upscaler's network, tile by tile, before the model renders over it."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from core.catalogue.upscalers import LANCZOS, Upscaler, list_upscalers
from core.errors import InvalidInput, RenderError
from core.render import RenderRequest
from worker.device.faults import is_out_of_memory, release_tensors
from worker.device.torch_device import device_name, free_cached_memory
from worker.init_image import PACKED, open_reference
from worker.memory.estimate import tokens
from worker.pipelines.family import AnyFamily, Sample
from worker.pipelines.upscalers.enlargement import GPU_BYTES, Enlargement, LoadedUpscaler

log = logging.getLogger(__name__)
CPU = torch.device("cpu")


def installed_upscalers(folders: Sequence[Path]) -> dict[str, Any]:
    """Return what a worker reports about the upscalers whose weights it has: id -> title, about, licence, origin, scales."""
    fields = {"title", "about", "licence", "origin", "scales"}
    return {row.id: row.model_dump(mode="json", include=fields) for row in list_upscalers(folders) if row.is_installed}


@dataclass(eq=False, kw_only=True)
class EnlargingSample(Sample):
    """A sample of the model's family, `inner`, which is started once all tiles of its start image are computed."""

    enlargement: Enlargement
    loaded: LoadedUpscaler
    result: Image.Image
    conditioning: Any
    mask: bytes
    inner: Any = None

    @property
    def tiles(self) -> int:
        return len(self.enlargement.tiles)

    def follow_inner(self) -> None:
        """Take over the state of `inner`; its steps count after the tiles."""
        inner = self.inner
        self.step, self.steps = self.tiles + inner.step, self.tiles + inner.steps
        self.group, self.tokens = inner.group, inner.tokens


class EnlargeFirst:
    """A family that renders like `family`, and first enlarges the start image of requests that name an upscaler."""

    def __init__(self, family: AnyFamily, device: torch.device, folders: Sequence[Path]) -> None:
        self._family = family
        self._device = device
        self._folders = folders
        self._loaded: LoadedUpscaler | None = None
        self.name: str = family.name
        self.max_samples: int | None = family.max_samples
        self.has_steps: bool = family.has_steps
        self.can_overlap_decode: bool = family.can_overlap_decode
        self.can_overlap_encode: bool = family.can_overlap_encode

    def check(self, request: RenderRequest, has_init_image: bool) -> None:
        self._family.check(request, has_init_image)
        if not enlarges(request):
            return
        if not has_init_image:
            raise InvalidInput("An upscaler enlarges the input image: send one with it.", field="upscaler")
        self._find(str(request.upscaler))

    def encode(self, request: RenderRequest) -> Any:  # noqa: ANN401 -- the family's
        return self._family.encode(request)

    def cached_conditioning(self, request: RenderRequest) -> Any:  # noqa: ANN401 -- the family's
        return self._family.cached_conditioning(request)

    def prepare_adapters(self, request: RenderRequest) -> None:
        self._family.prepare_adapters(request)

    def start(self, request: RenderRequest, conditioning: Any, init_image: bytes, mask: bytes = b"") -> Any:  # noqa: ANN401
        if not enlarges(request):
            return self._family.start(request, conditioning, init_image, mask)
        source = open_reference(init_image)
        loaded = self._load(self._find(str(request.upscaler)), self._choose_device())
        enlargement = Enlargement(loaded, source, _scale_for(loaded, source, request))
        return EnlargingSample(
            request=request,
            steps=len(enlargement.tiles) + request.num_inference_steps,
            group=("enlarge", request.id),
            tokens=tokens(request.width, request.height),
            pipeline_guidance_scale=request.guidance_scale,
            enlargement=enlargement,
            loaded=loaded,
            result=Image.new("RGB", (enlargement.width, enlargement.height)),
            conditioning=conditioning,
            mask=mask,
        )

    def step(self, samples: Sequence[Any]) -> None:
        first = samples[0]
        if isinstance(first, EnlargingSample) and first.inner is None:
            self._compute_tile(first)  # No other sample has its group.
            return
        try:
            self._family.step([_inner(sample) for sample in samples])
        finally:
            for sample in samples:
                if isinstance(sample, EnlargingSample):
                    sample.follow_inner()

    def decode(self, sample: Any) -> torch.Tensor:  # noqa: ANN401 -- the family's, or one around it
        pixels: torch.Tensor = self._family.decode(_inner(sample))
        return pixels

    def preview(self, sample: Any) -> torch.Tensor | None:  # noqa: ANN401 -- the family's, or one around it
        inner = _inner(sample)
        return None if inner is None else self._family.preview(inner)

    def close(self, sample: Any) -> None:  # noqa: ANN401 -- the family's, or one around it
        if (inner := _inner(sample)) is not None:
            self._family.close(inner)

    def _compute_tile(self, sample: EnlargingSample) -> None:
        enlargement, number = sample.enlargement, sample.step
        if number < sample.tiles:
            tile = enlargement.tiles[number]
            pixels = self._pixels_of(sample, number)
            sample.result.paste(Image.fromarray(pixels.numpy()), enlargement.box_of(tile)[:2])
        if number < sample.tiles - 1:
            sample.step += 1
            return
        self._start_inner(sample)

    def _pixels_of(self, sample: EnlargingSample, number: int) -> torch.Tensor:
        tile = sample.enlargement.tiles[number]
        try:
            return sample.enlargement.compute(tile)
        except RuntimeError as error:
            if sample.loaded.device == CPU or not is_out_of_memory(error):
                raise
            log.warning("%s: no memory to enlarge on the device, the CPU takes over", sample.request.id)
            release_tensors(error)
            free_cached_memory()
            sample.loaded = self._load(sample.loaded.upscaler, CPU)
            sample.enlargement.continue_with(sample.loaded)
            return sample.enlargement.compute(tile)

    def _start_inner(self, sample: EnlargingSample) -> None:
        packed, size = io.BytesIO(), (sample.request.width, sample.request.height)
        enlarged = sample.result
        (enlarged if enlarged.size == size else enlarged.resize(size, Image.Resampling.LANCZOS)).save(packed, PACKED)
        sample.inner = inner = self._family.start(sample.request, sample.conditioning, packed.getvalue(), sample.mask)
        sample.schedule, sample.pipeline_guidance_scale = inner.schedule, inner.pipeline_guidance_scale
        sample.notes = inner.notes | {
            "upscaler": sample.loaded.upscaler.id,
            "upscaler_device": device_name(sample.loaded.device),
            "upscaler_tiles": str(sample.tiles),
        }
        sample.follow_inner()
        sample.result, sample.conditioning, sample.mask = Image.new("RGB", (1, 1)), None, b""

    def _choose_device(self) -> torch.device:
        if self._device.type != "cuda":
            return self._device
        reserved = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return self._device if torch.cuda.mem_get_info(self._device)[0] + reserved >= GPU_BYTES else CPU

    def _load(self, upscaler: Upscaler, device: torch.device) -> LoadedUpscaler:
        """Return the network on that device; the last one stays loaded."""
        kept = self._loaded
        if kept is None or (kept.upscaler, kept.device) != (upscaler, device):
            self._loaded = kept = LoadedUpscaler(upscaler, device)
        return kept

    def _find(self, name: str) -> Upscaler:
        try:
            upscaler = list_upscalers(self._folders).get(name)  # Files may have come or gone since the last request.
        except InvalidInput as error:
            raise RenderError(error.message, code="upscaler_unavailable") from error
        if not upscaler.is_installed:
            raise RenderError(f"This worker has no weights of the upscaler {name}.", code="upscaler_unavailable")
        return upscaler


def enlarges(request: RenderRequest) -> bool:
    """Return whether the request names an upscaler with a network; Lanczos needs none and is the worker's own."""
    return request.upscaler not in (None, LANCZOS)


def _scale_for(loaded: LoadedUpscaler, source: Image.Image, request: RenderRequest) -> int:
    """Return the smallest factor that reaches the requested size, else the largest; Lanczos makes up for the rest."""
    needed = max(request.width / source.width, request.height / source.height)
    return min((scale for scale in loaded.scales if scale >= needed), default=max(loaded.scales))


def _inner(sample: Any) -> Any:  # noqa: ANN401 -- the family's, or one around it
    return sample.inner if isinstance(sample, EnlargingSample) else sample
