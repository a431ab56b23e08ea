"""The interface between the engine's loop and a model family, what a family is built from, and the choice of one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

import torch

from core.catalogue import CatalogueModel
from core.errors import InvalidInput
from core.render import DEFAULT_INPAINT_STRENGTH, DEFAULT_STRENGTH, LoraRequest, RenderRequest
from worker.models.tiny_decoder import TinyDecoder
from worker.pipelines.adapters import Adapters


@dataclass(eq=False, kw_only=True)
class Sample:
    """One image in progress; families add their tensors.

    `group`: only samples of equal group may share a forward pass. `tokens`: its size in a forward pass, both
    halves of a guidance pair included. `schedule`: sigmas or timesteps for its record. `step` counts completed steps.
    `notes`: additions to its record, next to the versions that all images of this engine share.
    `device_name`, `dtype`: for its record, where they are not the engine's.
    """

    request: RenderRequest
    steps: int
    group: Hashable
    tokens: int
    pipeline_guidance_scale: float
    schedule: list[float] = field(default_factory=list)
    step: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    device_name: str = ""
    dtype: str = ""


C = TypeVar("C")
S = TypeVar("S", bound=Sample)


class Family(Protocol[C, S]):
    """One thread calls it, apart from the overlaps below. Methods raise core.errors.RenderError for known errors.

    `has_steps`: whether `step` is one pass of the denoiser; else it may be a whole image.
    `max_samples`: how many samples it can hold at once; None leaves that to memory.
    `can_overlap_decode`: whether `decode` may run on another thread while samples are stepped.
    `can_overlap_encode`: the same for `encode`, after `prepare_adapters`, if neither the request nor a sample has adapters.
    """

    name: str
    max_samples: int | None
    has_steps: bool
    can_overlap_decode: bool
    can_overlap_encode: bool

    def check(self, request: RenderRequest, has_init_image: bool) -> None:
        """Raise InvalidInput when this model cannot render the request; nothing is computed."""

    def encode(self, request: RenderRequest) -> C:
        """Return the request's conditioning, cached if possible."""

    def cached_conditioning(self, request: RenderRequest) -> C | None:
        """Return what `encode` would return without running a text encoder; None on a cache miss. Changes nothing."""

    def prepare_adapters(self, request: RenderRequest) -> None:
        """Activate the adapters that `encode` needs for the request, which may change the text encoder."""

    def start(self, request: RenderRequest, conditioning: C, init_image: bytes, mask: bytes = b"") -> S:
        """Return a sample positioned before its first step. `init_image` and `mask` are encoded, or empty."""

    def step(self, samples: Sequence[S]) -> None:
        """Advance all samples by one step, in one forward pass; when it raises, no sample has changed."""

    def decode(self, sample: S) -> torch.Tensor:
        """Return the pixels of a sample whose steps are done: uint8, height x width x 3, on any device."""

    def preview(self, sample: S) -> torch.Tensor | None:
        """Return a small preview of the current state: uint8, height x width x 3; None if there is none."""

    def close(self, sample: S) -> None:
        """Release a sample, finished or not."""


def refuse_start_sigma(request: RenderRequest) -> None:
    """Raise InvalidInput, for families whose pipelines cannot start at a given noise level."""
    if request.start_sigma is not None:
        raise InvalidInput("This model has no start_sigma: send strength instead, where it takes one.", field="start_sigma")


def strength_of(request: RenderRequest) -> float:
    """Return how much of the input image may change, 0..1.

    With a start sigma it is 1: the schedule begins there, and all of its steps run.
    """
    if request.start_sigma is not None:
        return 1.0
    if request.strength is not None:
        return request.strength
    return DEFAULT_INPAINT_STRENGTH if request.has_mask else DEFAULT_STRENGTH


AnyFamily: TypeAlias = Family[Any, Any]


@dataclass(frozen=True)
class FamilyContext:
    """`device` runs the steps, `text_device` encodes prompts; they differ in tiers with the encoder on the CPU, and
    where IMAGEFARM_TEXT_ENCODER_DEVICE names another one.

    `tiny_decoder`: decodes in place of the VAE, apart from strict requests.
    """

    pipeline: Any
    model: CatalogueModel
    device: torch.device
    text_device: torch.device
    adapters: Adapters
    tiny_decoder: TinyDecoder | None = None

    def use_adapters(self, loras: tuple[LoraRequest, ...]) -> None:
        """Make forward passes use exactly these LoRAs. Most passes have none, after one that had none either."""
        if loras or self.adapters.active:
            self.adapters.activate(loras)

    def decoder_for(self, request: RenderRequest) -> TinyDecoder | None:
        """Return the tiny decoder, if this request is to be decoded with it."""
        return None if request.strict else self.tiny_decoder

    def decoder_notes(self, request: RenderRequest) -> dict[str, str]:
        """Return what the record of this request says about its decoder."""
        tiny = self.decoder_for(request)
        return {} if tiny is None else {"decoder": tiny.name}

    def text_notes(self) -> dict[str, str]:
        """Return what records say about the device of the text encoders: nothing where it is the model's own."""
        return {} if self.text_device == self.device else {"text_encoder": str(self.text_device)}


def make_family(loaded: FamilyContext) -> AnyFamily:
    """Return the family of the model's catalogue row over its loaded pipeline; only that family's code is imported."""
    match loaded.model.family:
        case "z-image":
            from worker.pipelines.z_image.family import ZImageFamily

            return ZImageFamily(loaded)
        case "stable-diffusion":
            from worker.pipelines.stable_diffusion.family import StableDiffusionFamily

            return StableDiffusionFamily(loaded)
        case "stock":
            from worker.pipelines.stock.family import StockFamily

            return StockFamily(loaded)
