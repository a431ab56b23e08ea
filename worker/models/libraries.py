"""Type aliases for diffusers' untyped objects, access to a pipeline's denoiser, and silent progress bars."""

from __future__ import annotations

from typing import Any, TypeAlias

AttentionModule: TypeAlias = Any
Pipeline: TypeAlias = Any
Scheduler: TypeAlias = Any
Tokenizer: TypeAlias = Any
Vae: TypeAlias = Any


def denoiser_of(pipeline: Pipeline) -> Pipeline:
    """Return the component that runs once per step."""
    return pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet


def silence_libraries() -> None:
    """Silence the libraries process-wide, including advice to install torchvision, which can break a CPU build of torch."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.disable_progress_bar()
