"""Choose what a model computes in on a CPU, and estimate its seconds, from the measured speeds of that CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.catalogue import CatalogueModel
from core.errors import RenderError
from worker.device.machine import GIGABYTE
from worker.memory.estimate import tokens
from worker.memory.plan import MemoryPlan
from worker.memory.sizes import ModelSizes

if TYPE_CHECKING:
    from worker.device.cpu_probe import CpuSpeed  # Imports torch.

MIN_PARAMETERS = 50_000_000
"""Smaller models take no time worth an estimate, nor a measurement of two seconds."""
CLEARLY_FASTER = 1.15
"""How much faster a dtype of twice the size must be."""
EIGHT_BIT_GAIN = 1.5
"""How much faster 8 bits must be than whole weights that fit: they change the image."""
WIDENED_FAMILIES = frozenset({"z-image"})
"""Families whose weights stay in bf16 where products are in fp32. Their code never reads the dtype of a matrix."""
CAPTION_TOKENS = 32
"""Of a short prompt in a transformer's sequence; the text encoder computes about as many."""
UNET_USE = 0.45
"""Multiplications of a UNet's parameter for each 16x16 pixels: most parameters are in levels of lower resolution."""
DECODE_FLOP_PER_PIXEL = 2.5e12 / 512**2
"""Of a VAE with 128 channels in its last level."""


@dataclass(frozen=True)
class CpuForm:
    """Names of dtypes. `stored`: of the weights on disk and in memory; `compute`: of the products."""

    stored: str
    compute: str


@dataclass(frozen=True)
class CpuForecast:
    """Seconds that one image of the model's default size and steps should take, and its peak of memory in bytes."""

    seconds_per_step: float
    seconds_per_image: float
    peak_bytes: int
    steps: int
    width: int
    height: int

    def describe(self) -> str:
        """Return one sentence for logs and `imagefarm doctor`."""
        image = f"{self.width}x{self.height} in {self.steps} steps"
        whole, step = _rounded(self.seconds_per_image), _rounded(self.seconds_per_step)
        memory = f"{self.peak_bytes / GIGABYTE:.1f} GB of memory"
        return f"expected on this CPU for {image}: about {whole} s an image ({step} s a step), {memory}"

    def figures(self) -> dict[str, float]:
        """Return the figures by name, memory in GB, for the worker's info."""
        return {
            "seconds_per_step": round(self.seconds_per_step, 3),
            "seconds_per_image": round(self.seconds_per_image, 3),
            "peak_gb": round(self.peak_bytes / GIGABYTE, 3),
            "num_inference_steps": self.steps,
            "width": self.width,
            "height": self.height,
        }


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def is_measured(sizes: ModelSizes) -> bool:
    """Return whether the model is large enough for a measurement."""
    return sum(part.parameters for part in sizes.components) >= MIN_PARAMETERS


def by_speed(dtypes: Sequence[str], speed: CpuSpeed) -> list[str]:
    """Return the dtypes that a CPU computes in, the one to prefer first: fp32 only if it is clearly faster."""
    usable = [name for name in dtypes if name != "float16"]
    prefers_wide = speed.float32 > speed.bfloat16 * CLEARLY_FASTER
    return sorted(usable, key=lambda name: (name == "float32") != prefers_wide)


def forms_by_speed(model: CatalogueModel, speed: CpuSpeed, wanted: str = "auto") -> list[CpuForm]:
    """Return the forms that this CPU renders the model in, the one to prefer first; `wanted`: one dtype for everything."""
    if wanted != "auto":
        return [CpuForm(wanted, wanted)]
    dtypes = by_speed(model.dtypes, speed)
    if model.family in WIDENED_FAMILIES and model.dtypes[0] == "bfloat16":
        return [CpuForm("bfloat16", dtypes[0])]
    return [CpuForm(dtype, dtype) for dtype in dtypes]


def choose_cpu_plan(
    forms: Sequence[CpuForm], speed: CpuSpeed, plan_for: Callable[[CpuForm], MemoryPlan]
) -> tuple[CpuForm, MemoryPlan]:
    """Return a form and its plan: the first form whose unpacked weights fit.

    Eight bits are taken where nothing else fits, or where what fits is much slower. `plan_for` raises RenderError
    `out_of_memory` where no tier fits; that is raised when none does for any form.
    """
    fitting: list[tuple[CpuForm, MemoryPlan]] = []
    failure: RenderError | None = None
    for form in forms:
        try:
            fitting.append((form, plan_for(form)))
        except RenderError as error:
            if error.code != "out_of_memory":
                raise
            failure = failure or error
    whole = [each for each in fitting if each[1].tier.denoiser == "native"]
    packed = [each for each in fitting if each[1].tier.denoiser != "native"]
    if whole and packed and rate_of(*packed[0], speed) > rate_of(*whole[0], speed) * EIGHT_BIT_GAIN:
        return packed[0]
    if chosen := (whole or packed):
        return chosen[0]
    raise failure or RenderError("The model computes in nothing that a CPU does.", code="invalid_input")


def multiplies_int8(speed: CpuSpeed) -> bool:
    """Return whether 8-bit weights are better multiplied in 8 bits than unpacked: that rounds the activations, too."""
    return speed.int8_product > speed.int8 * CLEARLY_FASTER


def rate_of(form: CpuForm, plan: MemoryPlan, speed: CpuSpeed) -> float:
    """Return the GFLOP/s of the denoiser in this form and tier."""
    if plan.tier.denoiser == "native":
        return speed.of(form.compute)
    return speed.int8_product if multiplies_int8(speed) else min(speed.int8, speed.of(form.compute))


def forecast(model: CatalogueModel, sizes: ModelSizes, plan: MemoryPlan, form: CpuForm, speed: CpuSpeed) -> CpuForecast:
    """Estimate one image of the model's defaults from counts of multiplications; overheads come on top."""
    defaults = model.defaults
    width, height = defaults.width, defaults.height
    rows = 2 if model.guidance_is_on(defaults.guidance_scale) else 1
    rate = rate_of(form, plan, speed) * 1e9
    step = forward_flop(model.family, sizes, width, height) * rows / rate
    text = 2 * sizes.of("text") * CAPTION_TOKENS * rows / rate
    decode = DECODE_FLOP_PER_PIXEL * width * height * (sizes.vae_width / 128) ** 2 / (speed.of(form.compute) * 1e9)
    peak = plan.estimate.peak(width, height, rows)
    steps = defaults.num_inference_steps
    return CpuForecast(step, step * steps + text + decode, peak, steps, width, height)


def forward_flop(family: str, sizes: ModelSizes, width: int, height: int) -> float:
    """Return the multiplications and additions of one forward pass for one row.

    Two for each parameter and token; attention adds less than a tenth at these sizes and is left out.
    """
    if family == "stable-diffusion":
        return 2 * sizes.of("denoiser") * UNET_USE * tokens(width, height)
    return 2.0 * sizes.of("denoiser") * (tokens(width, height) + CAPTION_TOKENS)
