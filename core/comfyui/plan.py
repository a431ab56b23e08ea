"""The steps that a graph is read into, each of which becomes a job of the farm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Start:
    """What a step starts from: an image that LoadImage names, or the images of an earlier step."""

    upload: str | None = None
    step: int | None = None


@dataclass(frozen=True)
class Render:
    """What a sampler renders. `loader`: ComfyUI's folder and the file's name. `strength` is set with a start image.

    `loras` are (file, scale). `mask`: the image whose transparent areas are repainted, grown by `grow_mask_by` pixels.
    `upscaler`: the file of the network that enlarges the start image first. `text_encoders`, `vae`: files that are named.
    """

    loader: tuple[str, str]
    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance: float
    width: int
    height: int
    count: int = 1
    strength: float | None = None
    loras: tuple[tuple[str, float], ...] = ()
    upscaler: str | None = None
    mask: str | None = None
    grow_mask_by: int = 0
    sampler: str = "euler"
    scheduler: str = "simple"
    shift: float | None = None
    text_encoders: tuple[str, ...] = ()
    vae: str | None = None


@dataclass(frozen=True)
class Enlarge:
    """What an upscaler enlarges: its file, None for resampling, and the factor."""

    upscaler: str | None
    scale: int


@dataclass(frozen=True)
class ReadStep:
    """One step. `node` reports its progress; `nodes` are executed with it, in this order, `node` the last."""

    node: str
    work: Render | Enlarge
    start: Start | None = None
    nodes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """An output node: which step's images it takes, and the nodes that are executed after that step."""

    node: str
    step: int
    is_temporary: bool
    prefix: str
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The steps of a graph in order, and its outputs. `node_errors`: of output nodes that cannot be run."""

    steps: tuple[ReadStep, ...]
    outputs: tuple[Output, ...]
    node_errors: Mapping[str, Any] = field(default_factory=dict)
