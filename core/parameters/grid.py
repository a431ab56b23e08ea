"""Expand a batch to its jobs: every combination of its values, in a stable order."""

from __future__ import annotations

import itertools
import math
from typing import Any

from pydantic import ValidationError

from core.parameters.parameters import Findings, InvalidParameters
from core.parameters.prompt_axes import MATRIX, PROMPT_SR, check_length, check_search, matrix_axes, with_parts
from core.parameters.seeds import RANDOM_SEED, resolve_seed
from core.render import MAX_SEED
from core.schemas.batches import BatchBase, BatchRequest
from core.schemas.jobs import RenderFields

Combination = tuple[RenderFields, dict[str, Any]]


def combinations(batch: BatchRequest, limit: int, max_prompt_chars: int = 10_000) -> list[Combination]:
    """Return (fields of the job, its values on the axes) for each job; prompts vary slowest, the last axis fastest.

    Axes are combined only if the batch has `prompts` or `base`; its `jobs` come last. Raises InvalidParameters for more than
    `limit` jobs, before any combination is made, and before matrix or S/R build a prompt of more than `max_prompt_chars`.
    """
    axes = _axes(batch, max_prompt_chars) if batch.prompts or batch.base is not None else None
    total = len(batch.jobs) + (math.prod(map(len, axes.values())) if axes is not None else 0)
    if total > limit:
        raise InvalidParameters([("axes", f"the batch has {total} jobs; send at most {limit} in a batch.")])
    found = [(fields, {"job": number}) for number, fields in enumerate(batch.jobs)]
    if axes is None:
        return found
    combined, shared = itertools.product(*axes.values()), _shared_variation(batch)
    return [_combined(batch, dict(zip(axes, values, strict=True)), shared, max_prompt_chars) for values in combined] + found


def _axes(batch: BatchRequest, max_prompt_chars: int) -> dict[str, list[Any]]:
    """Return axis name -> values, without empty axes."""
    found: dict[str, list[Any]] = {"prompt": list(batch.prompts), **_matrix(batch, max_prompt_chars), "seed": _seeds(batch)}
    found |= {name: values for name, values in batch.axes.model_dump(mode="json").items() if values}
    return {name: values for name, values in found.items() if values}


def _matrix(batch: BatchRequest, max_prompt_chars: int) -> dict[str, list[Any]]:
    """Return the axes of a prompt matrix, `prompt` first, which is the text before its parts."""
    if not batch.matrix:
        return {}
    prompts = batch.prompts or [batch.base.prompt if batch.base is not None else ""]
    if len(prompts) != 1:
        raise InvalidParameters([("matrix", f"takes one prompt, and the batch has {len(prompts)}: send several batches.")])
    check_length("prompt", len(prompts[0]), max_prompt_chars)
    prompt, axes = matrix_axes(prompts[0])
    return {"prompt": [prompt], **axes}


def _seeds(batch: BatchRequest) -> list[int]:
    if batch.seeds:
        return list(batch.seeds)
    base = batch.base or BatchBase()
    if base.seed == RANDOM_SEED and batch.shared_seed:
        return [resolve_seed(RANDOM_SEED, min(max(base.num_images, 1), MAX_SEED), Findings())]
    return []


def _shared_variation(batch: BatchRequest) -> dict[str, int]:
    """Return one variation seed for all jobs, as for their seed; empty when the batch names one or has no variation."""
    base = batch.base or BatchBase()
    is_named = batch.axes.variation_seed or base.variation_seed not in (None, RANDOM_SEED)
    is_varied = base.variation_strength or any(batch.axes.variation_strength)
    if is_named or not is_varied or not batch.shared_seed:
        return {}
    return {"variation_seed": resolve_seed(RANDOM_SEED, min(max(base.num_images, 1), MAX_SEED), Findings())}


def _combined(batch: BatchRequest, values: dict[str, Any], shared: dict[str, int], max_prompt_chars: int) -> Combination:
    base = {**(batch.base or BatchBase()).model_dump(exclude_unset=True), **shared}
    if "size" in values:
        base = {name: value for name, value in base.items() if name not in ("width", "height")}
    given = {"prompt": "", **base, **values}
    parts = [given.pop(name) for name in values if name.startswith(MATRIX)]
    given["prompt"] = with_parts(given["prompt"], parts)
    if PROMPT_SR in given:
        # A part of a matrix that a job lacks may hold the text.
        whole = [*batch.prompts, *([batch.base.prompt] if batch.base is not None else [])] if batch.matrix else []
        _replace(given, batch.axes.prompt_sr[0], given.pop(PROMPT_SR), whole, max_prompt_chars)
    try:
        return RenderFields.model_validate(given), values
    except ValidationError as error:
        raise InvalidParameters([(f"axes.{item['loc'][0]}", str(item["msg"])) for item in error.errors()]) from None


def _replace(given: dict[str, Any], search: str, text: str, whole: list[str], max_prompt_chars: int) -> None:
    """Replace in the prompt and the negative prompt, as A1111's S/R does."""
    texts = {name: given[name] for name in ("prompt", "negative_prompt") if given.get(name)}
    check_search(search, [*texts.values(), *whole] or [""])
    for name, value in texts.items():
        check_length(name, len(value) + value.count(search) * (len(text) - len(search)), max_prompt_chars)
        given[name] = value.replace(search, text)
