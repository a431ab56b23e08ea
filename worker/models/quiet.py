"""Keep the libraries' own bars and hints out of the log: progress goes through callbacks."""

from __future__ import annotations


def silence_libraries() -> None:
    """Process-wide. Among what it drops are hints to install torchvision, which would break a CPU build of torch."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.disable_progress_bar()
