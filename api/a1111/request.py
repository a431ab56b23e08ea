"""Convert A1111 parameters to a job request; identify A1111 callers by address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import Depends, Request

from api.caller import ANONYMOUS, Caller, clean_label
from api.dependencies import CallerDependency, SubmitterDependency
from core.catalogue import Catalogue
from core.schemas.a1111 import Img2Img, Txt2Img
from core.schemas.jobs import JobRequest


def _with_address(request: Request, caller: Caller) -> Caller:
    """Give callers without a key or label one owner per address, so that they cannot interrupt another machine's jobs."""
    if caller.owner != ANONYMOUS:
        return caller
    label = clean_label(f"a1111@{request.client.host if request.client else 'unknown'}")
    return replace(caller, owner=f"client:{label}", label=label)


async def get_a1111_reader(request: Request, caller: CallerDependency) -> Caller:
    """Return a caller who may read."""
    return _with_address(request, caller)


async def get_a1111_submitter(request: Request, caller: SubmitterDependency) -> Caller:
    """Return a caller who may submit and cancel their own jobs."""
    return _with_address(request, caller)


A1111Caller = Annotated[Caller, Depends(get_a1111_reader)]
A1111Submitter = Annotated[Caller, Depends(get_a1111_submitter)]


FACE = "a1111"
"""Marks the jobs of this face in the database: only those are shown and interrupted here."""
CHECKPOINT = "sd_model_checkpoint"
SAMPLERS = ("Euler", "euler")
_OFF: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "enable_hr": (False, None),
        "restore_faces": (False, None),
        "tiling": (False, None),
        "script_name": (None, "", "None"),
    }
)
"""Fields of features that the farm does not have, with the values that leave the feature off."""


_OFF_WITH_A_MASK: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {"inpainting_fill": (1, None), "inpaint_full_res": (False, None)}
)


def job_request(wanted: Txt2Img, catalogue: Catalogue, chosen: str | None, uploads: Mapping[str, str]) -> JobRequest:
    """Build the job request; `chosen` is the caller's sd_model_checkpoint of POST /options.

    `uploads`: field -> id of an upload, for `init_image` and `mask`.
    """
    checkpoint = (wanted.override_settings or {}).get(CHECKPOINT) or chosen
    fields: dict[str, Any] = {
        "prompt": wanted.prompt,
        "negative_prompt": wanted.negative_prompt or "",
        "seed": -1 if wanted.seed is None else wanted.seed,
        "variation_seed": wanted.subseed if wanted.subseed_strength else None,
        "variation_strength": wanted.subseed_strength or None,
        "num_images": (1 if wanted.batch_size is None else wanted.batch_size)
        * (1 if wanted.n_iter is None else wanted.n_iter),
        "num_inference_steps": wanted.steps,
        "guidance_scale": wanted.cfg_scale,
        "width": wanted.width,
        "height": wanted.height,
        "model": catalogue.get(str(checkpoint)).id if checkpoint else None,
        "styles": wanted.styles,
        **uploads,
    }
    if isinstance(wanted, Img2Img):
        fields["strength"] = wanted.denoising_strength
        fields["mask_feather"] = wanted.mask_blur if wanted.mask else None
    if wanted.force_task_id:
        fields["metadata"] = {"task_id": wanted.force_task_id}
    return JobRequest.model_validate({name: value for name, value in fields.items() if value is not None})


def ignored_fields(wanted: Txt2Img) -> list[str]:
    """Return a sentence for each requested feature that the farm does not have."""
    sent = wanted.model_dump()
    off_values = {**_OFF, **_OFF_WITH_A_MASK} if sent.get("mask") else _OFF
    found = [f"{name} has no effect here." for name, off in off_values.items() if sent.get(name) not in off]
    scripts = [name for name, script in (wanted.alwayson_scripts or {}).items() if _is_enabled(script)]
    found += [f"alwayson_scripts: there is no script '{name}' here." for name in scripts]
    sampler = wanted.sampler_name or wanted.sampler_index
    if sampler and sampler not in SAMPLERS:
        found.append(f"sampler_name '{sampler}' has no effect: each model renders with its own scheduler.")
    others = sorted(set(wanted.override_settings or {}) - {CHECKPOINT})
    return found + [f"override_settings: {name} has no effect here." for name in others]


def _is_enabled(script: Any) -> bool:  # noqa: ANN401 -- any JSON value
    """Return whether a script is enabled; clients send empty or disabled ones with every request."""
    arguments = script.get("args") if isinstance(script, dict) else script
    return arguments not in (None, [], [False], {})
