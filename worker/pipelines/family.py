"""The interface between the engine's loop and a model family, and what a family is made from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

import torch

from core.catalogue import CatalogueModel
from core.errors import InvalidInput
from core.render import RenderRequest
from worker.pipelines.adapters import Adapters


@dataclass(eq=False, kw_only=True)
class Sample:
    """One image on its way; families add their tensors.

    `group`: only samples of equal group may share a forward pass. `tokens`: what it adds to a forward pass, its
    guidance pair included. `schedule`: sigmas or timesteps, as its record shows them. `step` counts steps done.
    `notes`: what its record shall say beside the versions that all pictures of this engine have in common.
    """

    request: RenderRequest
    steps: int
    group: Hashable
    tokens: int
    pipeline_guidance_scale: float
    schedule: list[float] = field(default_factory=list)
    step: int = 0
    notes: dict[str, str] = field(default_factory=dict)


C = TypeVar("C")
S = TypeVar("S", bound=Sample)


class Family(Protocol[C, S]):
    """The loop calls it from one thread, but for the two below. Methods raise core.errors.RenderError for known trouble.

    `has_steps`: whether `step` is one pass of the denoiser; else it may be a whole picture.
    `concurrent`: how many samples it can hold at once; None leaves that to memory.
    `decodes_apart`: whether `decode` may run on another thread while samples are stepped.
    `encodes_apart`: likewise `encode`, of a request without adapters, while no sample has any and after `prepare_adapters`.
    """

    name: str
    concurrent: int | None
    has_steps: bool
    decodes_apart: bool
    encodes_apart: bool

    def check(self, request: RenderRequest, has_init_image: bool) -> None:
        """InvalidInput when this model cannot render the request; nothing is computed."""

    def encode(self, request: RenderRequest) -> C:
        """The request's conditioning, from the cache where it can."""

    def cached_conditioning(self, request: RenderRequest) -> C | None:
        """Look up what `encode` would return; None where a text encoder would have to run. Changes nothing."""

    def prepare_adapters(self, request: RenderRequest) -> None:
        """Activate the adapters that `encode` needs for the request, which may reach into the text encoder."""

    def start(self, request: RenderRequest, conditioning: C, init_image: bytes) -> S:
        """A sample that stands before its first step."""

    def step(self, samples: Sequence[S]) -> None:
        """One step for all, in one forward pass; when it raises, no sample has changed."""

    def decode(self, sample: S) -> torch.Tensor:
        """Pixels of a sample whose steps are done: uint8, height x width x 3, on any device."""

    def preview(self, sample: S) -> torch.Tensor | None:
        """What the picture looks like so far: uint8, height x width x 3, much smaller; None when it cannot say."""

    def close(self, sample: S) -> None:
        """Forget a sample, finished or not."""


def refuse_start_sigma(request: RenderRequest) -> None:
    """InvalidInput for families whose pipelines do not begin at a noise level that is named."""
    if request.start_sigma is not None:
        raise InvalidInput("This model has no start_sigma: send strength instead, where it takes one.", field="start_sigma")


AnyFamily: TypeAlias = Family[Any, Any]


@dataclass(frozen=True)
class FamilyContext:
    """`device` computes the steps. `text_device` encodes prompts: another one where the memory tier keeps it apart."""

    pipeline: Any
    model: CatalogueModel
    device: torch.device
    text_device: torch.device
    adapters: Adapters
