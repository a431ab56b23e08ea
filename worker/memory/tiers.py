"""The memory tiers as data, best first: `auto` takes the first one that fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from worker.memory.sizes import Role

Form = Literal["native", "int8", "int4", "fp8", "fp8-cast"]
"""Storage form of matrices; `native` is the model's compute dtype. `fp8-cast`: cast to fp8 without scales."""
PackedForm = Literal["int8", "int4", "fp8"]
"""Forms that are converted once and kept on disk."""
PACKED_FORMS: tuple[PackedForm, ...] = get_args(PackedForm)
Placement = Literal["device", "cpu", "streamed", "by_turns", "other"]
"""`other`: on a device besides the model's own and the CPU.

`streamed`: in host memory, each block is copied to the device in turn. `by_turns`: whole component, only while used.
"""


@dataclass(frozen=True)
class Tier:
    """`token_budget`: most tokens in one forward pass, 16x16-pixel patches and captions; CFG pairs counted twice.

    `capacity`: requests in flight. Empty `families` means any. Quantised forms need a transformer as denoiser, and no LoRA
    that is part of the model. `min_capability`: of a CUDA device. `automatic`: whether `auto` may choose it.
    `for_packed_files`: only for a denoiser that its file stores packed (GGUF, fp8), whose form is `native` in every tier.
    """

    name: str
    about: str
    device: Literal["cuda", "cpu"]
    denoiser: Form = "native"
    denoiser_place: Placement = "device"
    text: Form = "native"
    text_place: Placement = "device"
    vae_place: Placement = "device"
    tiled_vae: bool = False
    compiles: bool = False
    token_budget: int = 4096
    capacity: int = 8
    families: tuple[str, ...] = ()
    min_capability: tuple[int, int] = (0, 0)
    automatic: bool = True
    for_packed_files: bool = False

    @property
    def moves_weights(self) -> bool:
        """Whether some weights are on the device only while they are used."""
        return not {"streamed", "by_turns"}.isdisjoint((self.denoiser_place, self.text_place, self.vae_place))


LARGE_TOKEN_BUDGET = 9216
"""Eight images of 512x512 or two of 1024x1024, with captions of 128 tokens and more."""
LARGE_CAPACITY = 16
"""Requests in flight: with so many, some have captions of equal length, and only those share a pass."""
TIERS: tuple[Tier, ...] = (
    Tier(
        "resident",
        "everything on the device in its own dtype",
        "cuda",
        compiles=True,
        token_budget=LARGE_TOKEN_BUDGET,
        capacity=LARGE_CAPACITY,
    ),
    Tier(
        "int8",
        "transformer and text encoder in 8 bits, all on the device",
        "cuda",
        denoiser="int8",
        text="int8",
        compiles=True,
        token_budget=LARGE_TOKEN_BUDGET,
        capacity=LARGE_CAPACITY,
        families=("z-image",),
    ),
    # Packed files are not compiled, until that has been tried on a GPU.
    Tier(
        "text-int8",
        "transformer as its file stores it, text encoder in 8 bits, all on the device",
        "cuda",
        text="int8",
        token_budget=LARGE_TOKEN_BUDGET,
        capacity=LARGE_CAPACITY,
        families=("z-image",),
        for_packed_files=True,
    ),
    # As large as int8 and coarser: only chosen by name, until it has been measured to be faster on a GPU.
    Tier(
        "fp8",
        "transformer in fp8 with scales, text encoder in 8 bits, all on the device",
        "cuda",
        denoiser="fp8",
        text="int8",
        compiles=True,
        token_budget=LARGE_TOKEN_BUDGET,
        capacity=LARGE_CAPACITY,
        families=("z-image",),
        min_capability=(8, 9),
        automatic=False,
    ),
    Tier(
        "int8-lean",
        "transformer in 8 bits on the device, text encoder on the CPU, tiled VAE",
        "cuda",
        denoiser="int8",
        text_place="cpu",
        tiled_vae=True,
        compiles=True,
        families=("z-image",),
    ),
    Tier(
        "lean",
        "transformer as its file stores it on the device, text encoder on the CPU, tiled VAE",
        "cuda",
        text_place="cpu",
        tiled_vae=True,
        families=("z-image",),
        for_packed_files=True,
    ),
    Tier(
        "offload",
        "transformer and text encoder in host memory, streamed block by block",
        "cuda",
        denoiser_place="streamed",
        text_place="streamed",
        tiled_vae=True,
        token_budget=8192,
    ),
    Tier(
        "int4-lean",
        "transformer in 4 bits on the device, text encoder on the CPU, tiled VAE",
        "cuda",
        denoiser="int4",
        text_place="cpu",
        tiled_vae=True,
        families=("z-image",),
    ),
    Tier(
        "fp8-offload",
        "transformer in fp8 in host memory, streamed block by block; text encoder on the CPU",
        "cuda",
        denoiser="fp8-cast",
        denoiser_place="streamed",
        text_place="cpu",
        tiled_vae=True,
        token_budget=8192,
        families=("z-image",),
    ),
    Tier(
        "by-turns",
        "components in host memory, each on the device while it works",
        "cuda",
        denoiser_place="by_turns",
        text_place="by_turns",
        vae_place="by_turns",
        capacity=2,
        families=("stock",),
    ),
    Tier("cpu", "everything on the CPU in its own dtype", "cpu", token_budget=4096, capacity=4),
    Tier(
        "cpu-int8",
        "on the CPU, transformer and text encoder in 8 bits",
        "cpu",
        denoiser="int8",
        text="int8",
        token_budget=4096,
        capacity=4,
        families=("z-image",),
    ),
    Tier(
        "cpu-text-int8",
        "on the CPU, transformer as its file stores it, text encoder in 8 bits",
        "cpu",
        text="int8",
        token_budget=4096,
        capacity=4,
        families=("z-image",),
        for_packed_files=True,
    ),
)


def tier_named(name: str) -> Tier | None:
    """Return the tier of that name, if there is one."""
    return next((tier for tier in TIERS if tier.name == name), None)


def packed_form(tier: Tier, role: Role) -> PackedForm | None:
    """Return the form that components in that role are packed into; None if their weights stay unpacked."""
    kept = {"denoiser": tier.denoiser, "text": tier.text, "vae": "native"}[role]
    return next((form for form in PACKED_FORMS if form == kept), None)
