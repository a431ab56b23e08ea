"""Estimate in bytes what a tier needs: weights by placement, activations by image size."""

from __future__ import annotations

from dataclasses import dataclass

from worker.device.machine import DTYPE_BYTES
from worker.memory.sizes import ComponentSize, ModelSizes, Role
from worker.memory.tiers import Form, Placement, Tier

PATCH = 16
"""Side in pixels of the square that one token covers."""
FORM_BYTES: dict[Form, float] = {"int8": 1.0015, "int4": 0.5625, "fp8": 1.0015, "fp8-cast": 1.0}
"""Bytes per element of a matrix: 8-bit forms carry a scale per row, 4 bits a scale and an offset per 64 elements."""
DENOISER_TENSORS = {"z-image": 12.0, "stable-diffusion": 40.0, "stock": 24.0}
"""Tensors of size (positions x width) alive at once in a forward pass. Z-Image: `benchmarks.simulated_memory`."""
UNPACK_BYTES: dict[Form, float] = {"int8": 2.5, "int4": 3.0, "fp8": 2.5, "fp8-cast": 2.0}
"""Per element of the largest matrix during its use, unpacked or multiplied in 8 bits; for a dtype of two bytes."""
WIDENED_BYTES = 4
"""Per element of the largest matrix during its use, in fp32."""
CAPTION_TOKENS = {"z-image": 512, "stable-diffusion": 0, "stock": 0}
"""Tokens of the longest caption that passes through the denoiser in one sequence with the image."""
VAE_TENSORS = 6.1
"""Tensors of the decoder's last level alive at once: 1.50 GiB at 1024x1024 in bf16 and 128 channels."""
IMAGE_TENSORS = 4.0
"""Tensors of three channels at image size: tiles waiting for the others, and the image assembled from them."""
TILE_PIXELS = 512 * 512
UNET_POSITIONS = 4
"""Positions of a UNet's highest level (8x8 pixels) in one token (16x16 pixels)."""
STREAMED_BLOCKS = 3
"""Blocks of a streamed component on the device at once: the current one, the next, and slack."""


@dataclass(frozen=True)
class Estimate:
    """Estimated bytes. `device` and `host` are weights by component; the rest is activations of one pass, uncorrected.

    `unpacked`: for the largest matrix during its use. `decode_per_pixel` applies to a tile, `image_per_pixel` to the image.
    """

    device: dict[str, int]
    host: dict[str, int]
    per_token: float
    decode_per_pixel: float
    tile_pixels: int | None
    correction: float = 1.0
    caption_tokens: int = 0
    unpacked: int = 0
    image_per_pixel: float = 0.0

    @property
    def resident(self) -> int:
        """Weights that stay on the device."""
        return sum(self.device.values())

    @property
    def host_total(self) -> int:
        """Weights that stay in host memory."""
        return sum(self.host.values())

    def activations(self, width: int, height: int, rows: int = 1) -> int:
        """Return the larger of one pass over `rows` rows (two with guidance) and one decode, which do not run at once."""
        return max(self.tokens_bytes(self.image_tokens(width, height, rows)), self.decode_bytes(width, height))

    def image_tokens(self, width: int, height: int, rows: int = 1) -> int:
        """Return the tokens that such an image with the longest caption adds to a pass."""
        return (tokens(width, height) + self.caption_tokens) * rows

    def tokens_bytes(self, count: int) -> int:
        """Return the activations of a forward pass over that many tokens."""
        return int((count * self.per_token + self.unpacked) * self.correction)

    def tokens_within(self, available_bytes: int) -> int:
        """Return the most tokens whose pass fits in those bytes; 0 where none does."""
        return max(int((available_bytes / self.correction - self.unpacked) / self.per_token), 0)

    def decode_bytes(self, width: int, height: int) -> int:
        """Return the activations of decoding one image, in tiles if the tier tiles its VAE."""
        pixels = width * height
        tile = pixels if self.tile_pixels is None else min(pixels, self.tile_pixels)
        return int((tile * self.decode_per_pixel + pixels * self.image_per_pixel) * self.correction)

    def peak(self, width: int, height: int, rows: int = 1) -> int:
        """Return the peak device memory of rendering such images."""
        return self.resident + self.activations(width, height, rows)


def tokens(width: int, height: int) -> int:
    """Return the patches of an image, rounded up to whole ones per side."""
    return -(-width // PATCH) * -(-height // PATCH)


def estimate(
    tier: Tier, sizes: ModelSizes, family: str, dtype: str, correction: float = 1.0, compute: str | None = None
) -> Estimate:
    """Estimate the tier's needs for a model of these sizes whose weights are in `dtype`.

    `compute`: the dtype that it computes in, if another: all weights but the VAE's are then widened at each use.
    """
    compute = compute or dtype
    device: dict[str, int] = {}
    host: dict[str, int] = {}
    for part in sizes.components:
        form, place = _form_and_placement(tier, part.role)
        in_memory = compute if part.role == "vae" else dtype
        on_device, on_host = _split(component_bytes(part, form, in_memory), place, part.role)
        device[part.name], host[part.name] = on_device, on_host
    _keep_largest_by_turns(tier, device)
    positions = UNET_POSITIONS if family == "stable-diffusion" else 1
    element = DTYPE_BYTES[compute]
    widened = sizes.largest_matrix("denoiser") * WIDENED_BYTES if compute != dtype and tier.denoiser == "native" else 0
    return Estimate(
        device=device,
        host=host,
        per_token=positions * sizes.width * element * DENOISER_TENSORS[family],
        decode_per_pixel=sizes.vae_width * element * VAE_TENSORS,
        tile_pixels=TILE_PIXELS if tier.tiled_vae else None,
        correction=correction,
        caption_tokens=CAPTION_TOKENS[family],
        unpacked=max(int(_unpacked(tier, sizes) * element / 2), widened),
        image_per_pixel=3 * element * IMAGE_TENSORS,
    )


def _unpacked(tier: Tier, sizes: ModelSizes) -> float:
    """Return the bytes for the largest matrix of the denoiser during its use, in a dtype of two bytes."""
    if stored := sizes.stored("denoiser"):
        return stored.unpacked
    return sizes.largest_matrix("denoiser") * UNPACK_BYTES.get(tier.denoiser, 0.0)


def component_bytes(part: ComponentSize, form: Form, dtype: str) -> int:
    """Return the bytes of a component in a form; parameters outside of matrices stay in the dtype.

    A component that its file stores packed is as large as there, whatever the form.
    """
    native = DTYPE_BYTES[dtype]
    if part.stored:
        return part.stored.packed + part.stored.others * native
    return int(part.matrices * FORM_BYTES.get(form, native) + part.others * native)


def _form_and_placement(tier: Tier, role: Role) -> tuple[Form, Placement]:
    if role == "denoiser":
        return tier.denoiser, tier.denoiser_place
    return (tier.text, tier.text_place) if role == "text" else ("native", tier.vae_place)


def _split(weights: int, place: Placement, role: Role) -> tuple[int, int]:
    """Return (bytes on the device, bytes on the host)."""
    if place == "device":
        return weights, 0
    if place == "cpu":
        return 0, weights
    if place == "other":
        return 0, 0
    if place == "by_turns":
        return weights, weights
    # A transformer of this kind has some thirty equal blocks, a few of which are on the device at a time.
    blocks = 36 if role == "text" else 32
    return weights * STREAMED_BLOCKS // blocks, weights


def _keep_largest_by_turns(tier: Tier, device: dict[str, int]) -> None:
    """Count only the largest component of a by-turns tier: two are never on the device at once."""
    if tier.denoiser_place != "by_turns" or not device:
        return
    largest = max(device, key=lambda name: device[name])
    device.update({name: 0 for name in device if name != largest})
