"""The stored parameters of a job as those of one of its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.parameters.seeds import seeds_of


def input_of_image(job_input: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return a job's stored parameters as those of one image: its own texts and seeds, and a count of one."""
    found = {name: value for name, value in job_input.items() if name not in ("prompts", "negative_prompts")}
    for name, texts in (("prompt", "prompts"), ("negative_prompt", "negative_prompts")):
        if job_input.get(texts):
            found[name] = job_input[texts][index]
    return found | seeds_of(job_input, index) | {"num_images": 1}
