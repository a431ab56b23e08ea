"""What an engine process is told to load, and how it is watched."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class EngineSpec:
    """`device`: `auto`, `cpu`, `cuda` or `cuda:N`. `capacity`: requests held at once; 0 lets the memory policy decide.

    `model_folders`: model id -> a folder with its weights in diffusers' layout, beside `models_dir`.
    `device_memory_gb`: most that it takes of a card, in 10^9 bytes; 0 means what is free.
    `token_budget`: most tokens in one forward pass; 0 lets the memory policy decide.
    `compile_blocks`: None lets the memory policy decide; compiled, the last bits differ from the stock pipeline's.
    `compile_mode`: of torch.compile. `attention_backend`: a name of diffusers' attention dispatch; `auto` tries them out.
    A step, an encode or a decode that takes longer than `step_timeout_seconds` means a hung device; on a CPU, one that does
    not even compute.
    `module` is what `python -m` runs as the child.
    """

    model: str
    device: str
    memory_policy: str
    models_dir: Path
    capacity: int
    step_timeout_seconds: float
    load_timeout_seconds: float
    model_folders: dict[str, Path] = field(default_factory=dict)
    device_memory_gb: float = 0.0
    token_budget: int = 0
    compile_blocks: bool | None = None
    compile_mode: str = "default"
    attention_backend: str = "auto"
    module: str = "worker.engine"
