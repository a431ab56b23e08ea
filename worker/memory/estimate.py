"""Estimate in bytes what a tier needs: weights by place, activations by image size."""

from __future__ import annotations

from dataclasses import dataclass

from worker.device.machine import DTYPE_BYTES
from worker.memory.sizes import ComponentSize, ModelSizes, Role
from worker.memory.tiers import Form, Placement, Tier

PATCH = 16
"""Side in pixels of the square that one token stands for."""


@dataclass(frozen=True)
class Estimate:
    """Bytes. `device` and `host` are weights by component; the rest is activations of one pass, before correction.

    `unpacked`: of a weight while it is used. `decode_per_pixel` is of a tile, `picture_per_pixel` of the whole.
    """

    device: dict[str, int]
    host: dict[str, int]
    per_token: float
    decode_per_pixel: float
    tile_pixels: int | None
    correction: float = 1.0
    caption_tokens: int = 0
    unpacked: int = 0
    picture_per_pixel: float = 0.0

    @property
    def resident(self) -> int:
        """Weights on the device all the time."""
        return sum(self.device.values())

    @property
    def host_total(self) -> int:
        """Weights in host memory all the time."""
        return sum(self.host.values())

    def activations(self, width: int, height: int, copies: int = 1) -> int:
        """Of `copies` pictures (a CFG pair is two) in one pass and one decode; the larger counts: they take turns."""
        return max(self.tokens_bytes(self.picture_tokens(width, height, copies)), self.decode_bytes(width, height))

    def picture_tokens(self, width: int, height: int, copies: int = 1) -> int:
        """What such a picture adds to a pass at most: with the longest caption."""
        return (tokens(width, height) + self.caption_tokens) * copies

    def tokens_bytes(self, count: int) -> int:
        """Activations of a forward pass over that many tokens."""
        return int((count * self.per_token + self.unpacked) * self.correction)

    def tokens_within(self, room: int) -> int:
        """The most tokens whose pass needs no more than those bytes; 0 where none does."""
        return max(int((room / self.correction - self.unpacked) / self.per_token), 0)

    def decode_bytes(self, width: int, height: int) -> int:
        """Of decoding one picture, in tiles where the tier says so."""
        pixels = width * height
        tile = pixels if self.tile_pixels is None else min(pixels, self.tile_pixels)
        return int((tile * self.decode_per_pixel + pixels * self.picture_per_pixel) * self.correction)

    def peak(self, width: int, height: int, copies: int = 1) -> int:
        """Device memory at the worst moment of rendering such pictures."""
        return self.resident + self.activations(width, height, copies)


def tokens(width: int, height: int) -> int:
    """Patches of a picture, in whole ones."""
    return -(-width // PATCH) * -(-height // PATCH)


FORM_BYTES: dict[Form, float] = {"int8": 1.0015, "int4": 0.5625, "fp8": 1.0015, "fp8-cast": 1.0}
"""Bytes for each element of a matrix: 8 bits carry a scale for each row, 4 bits a scale and an offset for 64 elements."""
DENOISER_TENSORS = {"z-image": 12.0, "stable-diffusion": 40.0, "stock": 24.0}
"""Tensors of the size (positions x width) alive at once in a forward pass. Z-Image: `benchmarks.simulated_memory`."""
UNPACK_BYTES: dict[Form, float] = {"int8": 2.5, "int4": 3.0, "fp8": 2.5, "fp8-cast": 2.0}
"""For each element of the largest matrix while it is used, unpacked or multiplied as it is; in a dtype of two bytes."""
CAPTION_TOKENS = {"z-image": 512, "stable-diffusion": 0, "stock": 0}
"""Of the longest caption that goes through the denoiser in one sequence with the picture."""
VAE_TENSORS = 6.1
"""Likewise at the decoder's last level: 1.50 GiB at 1024x1024 in bf16 and 128 channels."""
PICTURE_TENSORS = 4.0
"""Tensors of three channels in the picture's size: tiles that wait for the others, and the whole that is made of them."""
TILE_PIXELS = 512 * 512
UNET_POSITIONS = 4
"""Positions of a UNet's highest level (8x8 pixels) in one token (16x16 pixels)."""
STREAMED_BLOCKS = 3
"""Blocks of a streamed component on the device at once: the one at work, the next, and slack."""


def estimate(tier: Tier, sizes: ModelSizes, family: str, dtype: str, correction: float = 1.0) -> Estimate:
    """The tier's needs for a model of these sizes that computes in `dtype`."""
    device: dict[str, int] = {}
    host: dict[str, int] = {}
    for part in sizes.components:
        form, place = _treatment(tier, part.role)
        on_device, on_host = _split(component_bytes(part, form, dtype), place, part.role)
        device[part.name], host[part.name] = on_device, on_host
    _share_turns(tier, device)
    positions = UNET_POSITIONS if family == "stable-diffusion" else 1
    element = DTYPE_BYTES[dtype]
    return Estimate(
        device=device,
        host=host,
        per_token=positions * sizes.width * element * DENOISER_TENSORS[family],
        decode_per_pixel=sizes.vae_width * element * VAE_TENSORS,
        tile_pixels=TILE_PIXELS if tier.tiled_vae else None,
        correction=correction,
        caption_tokens=CAPTION_TOKENS[family],
        unpacked=int(sizes.largest_matrix("denoiser") * UNPACK_BYTES.get(tier.denoiser, 0.0) * element / 2),
        picture_per_pixel=3 * element * PICTURE_TENSORS,
    )


def component_bytes(part: ComponentSize, form: Form, dtype: str) -> int:
    """Weights of a component in a form; what is no matrix stays in the dtype."""
    native = DTYPE_BYTES[dtype]
    return int(part.matrices * FORM_BYTES.get(form, native) + part.others * native)


def _treatment(tier: Tier, role: Role) -> tuple[Form, Placement]:
    if role == "denoiser":
        return tier.denoiser, tier.denoiser_place
    return (tier.text, tier.text_place) if role == "text" else ("native", tier.vae_place)


def _split(weights: int, place: Placement, role: Role) -> tuple[int, int]:
    """(on the device, on the host)."""
    if place == "device":
        return weights, 0
    if place == "cpu":
        return 0, weights
    if place == "by_turns":
        return weights, weights
    # A transformer of this kind has some thirty blocks alike, a few of which are on the device at a time.
    blocks = 36 if role == "text" else 32
    return weights * STREAMED_BLOCKS // blocks, weights


def _share_turns(tier: Tier, device: dict[str, int]) -> None:
    """Components that take turns never meet on the device: only the largest counts."""
    if tier.denoiser_place != "by_turns" or not device:
        return
    largest = max(device, key=lambda name: device[name])
    device.update({name: 0 for name in device if name != largest})
