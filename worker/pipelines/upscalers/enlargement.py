"""Enlarge one image with an upscaler, tile by tile, in bounded memory."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from core.catalogue.upscalers import MAX_SCALE, Upscaler
from core.errors import InvalidInput, RenderError
from worker.device.machine import GIGABYTE
from worker.pipelines.upscalers.network import Network, Tiling, load_network, tiling_of, tolerates_bfloat16
from worker.pipelines.upscalers.tiles import Box, Tile, cut, scaled

GPU_BYTES = 3 * GIGABYTE
"""Free memory of a GPU below which an image is enlarged on the CPU: a tile takes up to 1.5 GB, beside other models."""
LANCZOS_TILING = Tiling(512, 8)
"""Lanczos reads three pixels around each of the input's."""


class LoadedUpscaler:
    """An upscaler's network on its device; None for Lanczos. It may serve several enlargements in turn."""

    def __init__(self, upscaler: Upscaler, device: torch.device, tiling: Tiling | None = None) -> None:
        """Load the weights. `tiling`: another than the architecture's own. Raise RenderError `upscaler_unavailable`."""
        self.upscaler, self.device = upscaler, device
        self.network: Network | None = None
        self.dtype = torch.float32
        if upscaler.origin == "builtin":
            self.tiling = tiling or LANCZOS_TILING
            return
        network = load_network(upscaler)
        self.dtype = torch.bfloat16 if tolerates_bfloat16(network) and _computes_bfloat16(device) else torch.float32
        self.network = network.to(device=device, dtype=self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.tiling = tiling or tiling_of(network)

    @property
    def scales(self) -> tuple[int, ...]:
        """Factors that this upscaler reaches: up to its network's own, by Lanczos reduction below that."""
        largest = self.network.scale if self.network else MAX_SCALE
        return tuple(scale for scale in self.upscaler.scales if scale <= largest)

    def enlarge(self, pixels: Tensor) -> Tensor:
        """Return `pixels` (3 x height x width, 0..1) enlarged by the network's factor, as uint8, height x width x 3."""
        network = self.network
        assert network is not None  # noqa: S101 - Lanczos is computed elsewhere
        height, width = pixels.shape[1:]
        multiple = network.multiple
        padded = functional.pad(pixels[None], (0, -width % multiple, 0, -height % multiple), mode="replicate")
        moved = padded.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
        with torch.inference_mode():
            whole: Tensor = network(moved)[0, :, : height * network.scale, : width * network.scale].float()
            enlarged = whole.clamp(0, 1).mul_(255).round_().byte().permute(1, 2, 0)
        if not bool(torch.isfinite(whole).all()):
            raise RenderError(f"{self.upscaler.id} produced numbers that are not finite.", code="non_finite_latents")
        return enlarged.cpu()


def _computes_bfloat16(device: torch.device) -> bool:
    """Return whether the device has units for bfloat16; without them it is emulated, ten times as slow as float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Enlargement:
    """One image on its way to `scale` times its size.

    `source` is RGB or RGBA; alpha is enlarged with Lanczos. Compute each of `tiles` in any order.
    """

    def __init__(self, loaded: LoadedUpscaler, source: Image.Image, scale: int) -> None:
        """Raise InvalidInput for a scale that the upscaler does not reach, and for other modes of image."""
        if scale not in loaded.scales:
            able = ", ".join(map(str, loaded.scales))
            raise InvalidInput(f"{loaded.upscaler.id} enlarges by {able}; {scale} is not one of them.", field="scale")
        if source.mode not in ("RGB", "RGBA"):
            raise InvalidInput(f"an image of mode {source.mode} must be converted to RGB or RGBA first.", field="image")
        self._loaded, self._source, self._scale = loaded, source, scale
        self.width, self.height = source.width * scale, source.height * scale
        self.channels = len(source.mode)
        self.tiles = cut(source.width, source.height, loaded.tiling.inner, loaded.tiling.halo)

    def continue_with(self, loaded: LoadedUpscaler) -> None:
        """Compute the remaining tiles with the same upscaler, loaded on another device."""
        self._loaded = loaded

    def box_of(self, tile: Tile) -> Box:
        """Return the part of the result that the tile fills."""
        return scaled(tile.inner, self._scale)

    def compute(self, tile: Tile) -> Tensor:
        """Return the tile's part of the result: uint8, height x width x channels, on the CPU."""
        crop = self._source.crop(tile.outer)
        enlarged = self._enlarged(crop.convert("RGB"))
        if self.channels == 4:
            enlarged.putalpha(self._resized(crop.getchannel("A")))
        inner = enlarged.crop(scaled(tile.inner_in_outer, self._scale))
        return _pixels(inner)

    def _enlarged(self, crop: Image.Image) -> Image.Image:
        if self._loaded.network is None:
            return self._resized(crop)
        pixels = _pixels(crop).permute(2, 0, 1).float() / 255
        by_network = Image.fromarray(self._loaded.enlarge(pixels).numpy())
        if self._loaded.network.scale == self._scale:
            return by_network
        size = (crop.width * self._scale, crop.height * self._scale)
        return by_network.resize(size, Image.Resampling.LANCZOS)

    def _resized(self, crop: Image.Image) -> Image.Image:
        return crop.resize((crop.width * self._scale, crop.height * self._scale), Image.Resampling.LANCZOS)


def _pixels(image: Image.Image) -> Tensor:
    """Return a copy of the image's pixels: uint8, height x width x channels."""
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.reshape(image.height, image.width, len(image.getbands()))
