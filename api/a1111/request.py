"""Convert A1111 parameters to job requests; identify A1111 callers by address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from fastapi import Depends, Request

from api.a1111.fitting import Fitted, fit_size, fit_steps, fit_strength, map_seed, size_warning
from api.caller import ANONYMOUS, Caller, clean_label
from api.dependencies import CallerDependency, SubmitterDependency
from core.catalogue import CatalogueModel
from core.imagefile.masks import MAX_FEATHER
from core.parameters.parameters import Findings, InvalidParameters
from core.parameters.seeds import RANDOM_SEED, resolve_seed
from core.render import MAX_SEED
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


@dataclass(frozen=True)
class Wanted:
    """What a request means for a model: its jobs, and what the caller is told.

    `cut`: the size to cut from the images, when the model renders no such size.
    """

    jobs: list[JobRequest]
    cut: Fitted | None = None
    warnings: list[str] = field(default_factory=list)


def job_requests(
    wanted: Txt2Img,
    model: CatalogueModel,
    uploads: Mapping[str, str],
    max_images: int,
    size: tuple[int, int] | None = None,
    max_jobs: int = 1000,
) -> Wanted:
    """Build the job of a request, or up to `max_jobs` of at most `max_images` images with seeds that follow each other.

    `uploads`: field -> id of an upload, for `init_image` and `mask`. `size`: in pixels, instead of the request's.
    """
    width, height = size or (wanted.width, wanted.height)
    _check_counts(wanted, max_images, max_jobs)
    total = (1 if wanted.batch_size is None else wanted.batch_size) * (1 if wanted.n_iter is None else wanted.n_iter)
    warnings: list[str] = []
    fields: dict[str, Any] = {
        "prompt": wanted.prompt,
        "negative_prompt": wanted.negative_prompt or "",
        "guidance_scale": _guidance(wanted.cfg_scale, model, warnings),
        "model": model.id,
        "styles": wanted.styles,
        **uploads,
    }
    cut = None
    if width is not None or height is not None:
        asked = width or model.defaults.width, height or model.defaults.height
        fitted = fit_size(*asked, model.limits)
        warnings.append(size_warning(*asked, fitted, model.id))
        cut = fitted if fitted.is_cut else None
        fields |= {"width": fitted.width, "height": fitted.height}
    fields["num_inference_steps"], said = fit_steps(wanted.steps, model)
    warnings.append(said)
    steps = fields["num_inference_steps"] or model.defaults.num_inference_steps
    if isinstance(wanted, Img2Img):
        fields["strength"], said = fit_strength(wanted.denoising_strength, steps)
        warnings.append(said)
        fields["mask_feather"] = feather_of(wanted) if "mask" in uploads else None
    if wanted.force_task_id:
        fields["metadata"] = {"task_id": wanted.force_task_id}
    requests = [
        JobRequest.model_validate({name: value for name, value in {**fields, **seeds}.items() if value is not None})
        for seeds in _seeds(wanted, total, max_images, warnings)
    ]
    return Wanted(requests, cut, [warning for warning in warnings if warning])


def _check_counts(wanted: Txt2Img, max_images: int, max_jobs: int) -> None:
    """Refuse more images than a batch may have before any of their jobs is built, and products of negative numbers."""
    for name in ("batch_size", "n_iter"):
        if (getattr(wanted, name) or 0) < 0:
            raise InvalidParameters([(name, "is negative: send 1 or more.")])
    most = max_jobs * max_images
    if (wanted.batch_size or 1) * (wanted.n_iter or 1) > most:
        raise InvalidParameters([("n_iter", f"times batch_size is more than {most} images: send several requests.")])


def _seeds(wanted: Txt2Img, total: int, max_images: int, warnings: list[str]) -> list[dict[str, Any]]:
    """Return the images and seeds of each job: as if one job rendered all, image i with seed + i."""
    varied = bool(wanted.subseed_strength)
    seed, said = map_seed(wanted.seed, 1 if varied else total)
    warnings.append(said)
    subseed, said = map_seed(wanted.subseed, total, "subseed") if varied else (RANDOM_SEED, "")
    warnings.append(said)
    if total <= max_images:
        counts = [total]  # 0 and less are refused with the job.
    else:
        counts = [min(max_images, total - first) for first in range(0, total, max_images)]
        seed = resolve_seed(seed, 1 if varied else min(total, MAX_SEED), Findings())
        subseed = resolve_seed(subseed, min(total, MAX_SEED), Findings()) if varied else subseed
    found = []
    for number, count in enumerate(counts):
        first = number * max_images
        fields: dict[str, Any] = {"num_images": count, "seed": seed if varied or seed == RANDOM_SEED else seed + first}
        if varied:
            shifted = subseed if subseed == RANDOM_SEED else subseed + first
            fields |= {"variation_seed": shifted, "variation_strength": wanted.subseed_strength}
        found.append(fields)
    return found


def _guidance(scale: float | None, model: CatalogueModel, warnings: list[str]) -> float | None:
    limit = model.limits.max_guidance_scale
    if scale is None or scale <= limit:
        return scale
    warnings.append(f"{model.id} takes a cfg_scale of at most {limit:g}: {scale:g} was asked.")
    return limit


def feather_of(wanted: Img2Img) -> int | None:
    """Return the largest blur of the mask that was sent, in pixels."""
    sent = [blur for blur in (wanted.mask_blur, wanted.mask_blur_x, wanted.mask_blur_y) if blur is not None]
    return min(max(sent), MAX_FEATHER) if sent else None
