"""Upscaling as a family of the engine: one step computes one tile, which gives progress, cancel and times."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core.catalogue.upscalers import Upscaler, list_upscalers
from core.errors import InvalidInput
from core.imagefile import open_with_alpha
from core.imagefile.xmp import mark_packet
from core.render import RenderRequest, UpscalePart
from core.storage.local import translate_write_errors
from worker.device.dtypes import dtype_name
from worker.device.faults import is_out_of_memory, release_tensors
from worker.device.machine import GIGABYTE
from worker.device.torch_device import device_name, free_cached_memory, resolve_device, use_device
from worker.pipelines.family import Sample
from worker.pipelines.upscalers.enlargement import GPU_BYTES, Enlargement, LoadedUpscaler
from worker.pipelines.upscalers.ncnn_weights import DamagedUpscaler
from worker.pipelines.upscalers.png_rows import PngRows, ReducedRows, Rows

log = logging.getLogger(__name__)
CPU = torch.device("cpu")
KEPT_NETWORKS = 2
MAX_SOURCE_PIXELS = 2**28
"""Above any result that a farm allows."""
REDUCED_SIDE = 1024
"""Longest side of the copy that thumbnails are made from."""


@dataclass(eq=False, kw_only=True)
class UpscaleSample(Sample):
    """An image that is enlarged. `band`: the result's rows of the tiles that are being computed."""

    enlargement: Enlargement
    loaded: LoadedUpscaler
    output: PngRows
    reduced: ReducedRows
    band: Rows | None = None


class UpscaleFamily:
    """Enlarges one image at a time, on the device if its memory allows it, else on the CPU.

    `measure_free`: returns a GPU's free bytes.
    """

    name = "upscale"
    max_samples: int | None = 1
    has_steps = True
    can_overlap_decode = False
    can_overlap_encode = False

    def __init__(
        self, device: str, folders: Sequence[Path], measure_free: Callable[[torch.device], int] | None = None
    ) -> None:
        """Raise RenderError `invalid_input` for a device that does not exist."""
        self._device = resolve_device(device)
        use_device(self._device)
        self._folders = folders
        self._measure_free = measure_free or _free_bytes
        self._networks: OrderedDict[tuple[object, ...], LoadedUpscaler] = OrderedDict()
        self._warnings: dict[str, list[str]] = {}

    def check(self, request: RenderRequest, has_init_image: bool) -> None:
        if request.upscale is None or not has_init_image:
            raise InvalidInput("This worker only enlarges images: send the request to POST /v1/upscales.")

    def encode(self, request: RenderRequest) -> tuple[()]:
        return ()

    def cached_conditioning(self, request: RenderRequest) -> tuple[()]:
        return ()

    def prepare_adapters(self, request: RenderRequest) -> None:
        """Do nothing: upscalers have no adapters."""

    def start(self, request: RenderRequest, conditioning: tuple[()], init_image: bytes, mask: bytes = b"") -> UpscaleSample:
        part = _part(request)
        source = open_with_alpha(init_image, max_pixels=MAX_SOURCE_PIXELS)
        self._warnings[request.id] = []
        loaded = self._load(part.upscaler, self._choose_device(request.id))
        enlargement = Enlargement(loaded, source, part.scale)
        size = (enlargement.width, enlargement.height)
        with translate_write_errors():
            output = PngRows(part.output, *size, enlargement.channels)
        sample = UpscaleSample(
            request=request,
            steps=len(enlargement.tiles),
            group=request.id,
            tokens=1,
            pipeline_guidance_scale=0.0,
            enlargement=enlargement,
            loaded=loaded,
            output=output,
            reduced=ReducedRows(*size, REDUCED_SIDE),
        )
        _describe(sample)
        return sample

    def step(self, samples: Sequence[UpscaleSample]) -> None:
        for sample in samples:
            self._compute_tile(sample)
            sample.step += 1

    def _compute_tile(self, sample: UpscaleSample) -> None:
        enlargement = sample.enlargement
        tile = enlargement.tiles[sample.step]
        try:
            pixels = enlargement.compute(tile)
        except RuntimeError as error:
            if sample.loaded.device == CPU or not is_out_of_memory(error):
                raise
            release_tensors(error)
            self._move_to_cpu(sample)
            pixels = enlargement.compute(tile)
        left, top, right, bottom = enlargement.box_of(tile)
        if sample.band is None:
            sample.band = np.empty((bottom - top, enlargement.width, enlargement.channels), np.uint8)
        sample.band[:, left:right] = pixels.numpy()
        if right == enlargement.width:
            self._write_band(sample, sample.band)
            sample.band = None

    def _write_band(self, sample: UpscaleSample, band: Rows) -> None:
        with translate_write_errors():
            sample.output.write(band)
            sample.reduced.add(band)
            if sample.output.is_complete:
                part = _part(sample.request)
                # Thumbnails of renders carry the mark of renders; what comes from elsewhere has no settings.
                xmp = mark_packet() if sample.request.num_inference_steps else b""
                part.reduced_output.write_bytes(sample.reduced.webp(xmp))

    def decode(self, sample: UpscaleSample) -> torch.Tensor:
        """Return a tensor of the result's size with no channels: its pixels are in the request's `output`."""
        return torch.empty((sample.enlargement.height, sample.enlargement.width, 0), dtype=torch.uint8)

    def preview(self, sample: UpscaleSample) -> torch.Tensor | None:
        return None

    def close(self, sample: UpscaleSample) -> None:
        self._warnings.pop(sample.request.id, None)
        if not sample.output.is_complete:
            sample.output.discard()
        if sample.loaded.device != CPU:
            free_cached_memory()  # For the model that renders on this GPU.

    def warnings_of(self, request: RenderRequest) -> tuple[str, ...]:
        """Return sentences about a request for its user."""
        return tuple(self._warnings.get(request.id, ()))

    def _choose_device(self, request_id: str) -> torch.device:
        if self._device.type != "cuda":
            return self._device
        free = self._measure_free(self._device)
        if free >= GPU_BYTES:
            return self._device
        self._warn(request_id, f"The GPU has {free / GIGABYTE:.1f} GB free, too little to enlarge an image beside the model")
        return CPU

    def _move_to_cpu(self, sample: UpscaleSample) -> None:
        free_cached_memory()
        self._warn(sample.request.id, "The GPU ran out of memory beside the model")
        sample.loaded = self._load(sample.loaded.upscaler.id, CPU)
        sample.enlargement.continue_with(sample.loaded)
        _describe(sample)

    def _warn(self, request_id: str, reason: str) -> None:
        sentence = f"{reason}: the image was enlarged on the CPU."
        log.warning("%s: %s", request_id, sentence)
        self._warnings[request_id].append(sentence)

    def _load(self, name: str, device: torch.device) -> LoadedUpscaler:
        upscaler = self._find(name)
        key = (upscaler.id, device, upscaler.weights, _modified_at(upscaler.weights))
        loaded = self._networks.pop(key, None) or LoadedUpscaler(upscaler, device)
        self._networks[key] = loaded
        while len(self._networks) > KEPT_NETWORKS:
            self._networks.popitem(last=False)
        return loaded

    def _find(self, name: str) -> Upscaler:
        try:
            return list_upscalers(self._folders).get(name)  # Files may have come or gone since the last request.
        except InvalidInput as error:
            raise DamagedUpscaler(f"The upscaler {name} is not on the worker's machine. {error.message}") from None


def _part(request: RenderRequest) -> UpscalePart:
    assert request.upscale is not None  # noqa: S101 - `check` has looked
    return request.upscale


def _describe(sample: UpscaleSample) -> None:
    """Set what the image's record says about how it was enlarged."""
    loaded, part = sample.loaded, _part(sample.request)
    sample.device_name = device_name(loaded.device)
    sample.dtype = dtype_name(loaded.dtype)
    sample.notes = {
        "upscaler": part.upscaler,
        "scale": str(part.scale),
        "tile": str(loaded.tiling.inner),
        "halo": str(loaded.tiling.halo),
    }


def _modified_at(file: Path | None) -> float:
    try:
        return file.stat().st_mtime if file is not None else 0.0
    except OSError:
        return 0.0


def _free_bytes(device: torch.device) -> int:
    """Return what the driver has free and what this process has reserved for reuse."""
    free = torch.cuda.mem_get_info(device)[0]
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
