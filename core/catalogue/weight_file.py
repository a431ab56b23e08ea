"""What a weight file on a user's disk is, as recognised from its header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.catalogue.catalogue import Architecture, Component


@dataclass(frozen=True)
class WeightFile:
    """A recognised file. `architectures`: models it can be part of; `components`: what it holds; both empty if unknown.

    `precision`: `bf16`, `fp16`, `fp32`, `fp8`, `fp8-scaled` (with scale tensors), `mixed`, or a GGUF type such as `Q8_0`.
    `sentence` says for people what the file seems to be and, when it cannot be used, what is supported.
    """

    path: Path
    kind: Literal["checkpoint", "component", "lora", "upscaler", "unknown"]
    container: Literal["safetensors", "gguf", "pickle", "unknown"]
    architectures: tuple[Architecture, ...]
    components: tuple[Component, ...]
    precision: str
    size_bytes: int
    sentence: str
