"""The second pass of enable_hr: each image of the first is refined at a larger size."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.a1111.fitting import Fitted, fit_size, fit_steps, fit_strength, size_warning
from api.a1111.request import FACE
from api.a1111.upscaler_names import upscaler_of
from api.caller import Caller
from api.farm import Farm
from api.overview import Overview
from api.refine import check_upscaler, submit_refinement
from api.submission import idempotency_key, wait_for_end
from api.threads import in_thread
from api.upscales import upscalers_of
from core.catalogue import CatalogueModel
from core.errors import InvalidInput
from core.parameters.parameters import Findings
from core.parameters.sizes import check_size
from core.refine_mode import RefineMode
from core.schemas.a1111 import Txt2Img
from core.schemas.jobs import JobRequest
from core.schemas.refine import RefineRequest
from db.jobs.read import Snapshot

_SCALE = 2.0


@dataclass(frozen=True)
class SecondPass:
    """What each image of the first pass is refined with. `cut`: the size to cut from it, where it is larger."""

    request: RefineRequest
    cut: Fitted | None
    warnings: tuple[str, ...]
    shown: dict[str, Any]


async def plan_second_pass(
    farm: Farm, wanted: Txt2Img, model: CatalogueModel, first: JobRequest, asked: tuple[int, int], overview: Overview
) -> SecondPass:
    """Return the second pass, checked before the first is rendered. Raises InvalidInput, or Conflict for the upscaler.

    `asked`: the size in pixels that the client asked for the first pass.
    """
    if model.img2img != "strength":
        raise InvalidInput(
            f"{model.id} cannot render over an enlarged image, which enable_hr needs: turn it off, or choose another model.",
            field="enable_hr",
            code="refine_not_offered",
        )
    upscalers, _ = await in_thread(upscalers_of, farm, overview)
    upscaler, renamed = upscaler_of(wanted.hr_upscaler, upscalers)
    width, height, cut = _size(wanted, model, (first.width or asked[0], first.height or asked[1]), asked)
    findings = Findings()
    check_size(width, height, model, findings)
    findings.raise_if_any()
    check_upscaler(upscaler, overview, model.id)
    steps, said = fit_steps(wanted.hr_second_pass_steps or wanted.steps, model)
    steps = steps or model.defaults.num_inference_steps
    strength, raised = fit_strength(wanted.denoising_strength, steps)
    fields: dict[str, Any] = {"mode": RefineMode.HIRES, "width": width, "height": height, "strength": strength}
    fields |= {"upscaler": upscaler} if width > (first.width or 0) or height > (first.height or 0) else {}
    if strength is not None or wanted.hr_second_pass_steps:
        fields["num_inference_steps"] = steps
    fields |= {"metadata": {"task_id": wanted.force_task_id}} if wanted.force_task_id else {}
    target = (cut.cut_width, cut.cut_height) if cut is not None else (width, height)
    resized = size_warning(*target, cut, model.id) if cut is not None else ""
    warnings = tuple(text for text in (renamed, said, raised, resized) if text)
    shown = {"Hires upscaler": wanted.hr_upscaler or "Lanczos", "Hires resize": f"{target[0]}x{target[1]}"}
    request = RefineRequest.model_validate({name: value for name, value in fields.items() if value is not None})
    return SecondPass(request, cut, warnings, shown)


def _size(
    wanted: Txt2Img, model: CatalogueModel, rendered: tuple[int, int], asked: tuple[int, int]
) -> tuple[int, int, Fitted | None]:
    """Return the size to render, in the shape of the first pass, and what to cut from it."""
    x, y = wanted.hr_resize_x or 0, wanted.hr_resize_y or 0
    if x or y:
        target = x or round(asked[0] * y / asked[1]), y or round(asked[1] * x / asked[0])
    else:
        scale = wanted.hr_scale or _SCALE
        target = int(asked[0] * scale), int(asked[1] * scale)
    factor = max(target[0] / rendered[0], target[1] / rendered[1])
    covering = math.ceil(rendered[0] * factor - 1e-6), math.ceil(rendered[1] * factor - 1e-6)
    size = fit_size(*covering, model.limits)
    cut = Fitted(size.width, size.height, min(target[0], size.width), min(target[1], size.height))
    return size.width, size.height, cut if cut.is_cut else None


async def refine_all(
    farm: Farm, caller: Caller, first: Sequence[Snapshot], second: SecondPass, task_id: str | None
) -> list[Snapshot]:
    """Refine every image of the first pass; return the settled jobs in their order. `task_id`: the force_task_id."""
    submitted = []
    for image in (image for snapshot in first for image in snapshot.images):
        # The image is another one for each first pass, and the same for a request that is sent again.
        key = idempotency_key(f"a1111-hires:{task_id}:{image.id}"[:255] if task_id else None, {"image": image.id})
        submitted.append(await submit_refinement(farm, caller, image.id, second.request, key, face=FACE))
    return list(await asyncio.gather(*(wait_for_end(farm, each.job.id) for each in submitted)))
