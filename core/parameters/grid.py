"""What a batch is made of: every combination of its values, in a stable order."""

from __future__ import annotations

import itertools
import math
from typing import Any

from pydantic import ValidationError

from core.parameters.normalise import LARGEST, RANDOM, resolve_seed
from core.parameters.parameters import Findings, InvalidParameters
from core.schemas.batches import BatchBase, BatchRequest
from core.schemas.jobs import RenderFields

Combination = tuple[RenderFields, dict[str, Any]]


def combinations(batch: BatchRequest, limit: int) -> list[Combination]:
    """(fields of the job, its values on the axes); prompts vary slowest, the last axis fastest.

    Raises InvalidParameters when that makes more than `limit` jobs.
    """
    axes = _axes(batch)
    total = math.prod(len(values) for values in axes.values()) if _has_grid(batch) else 0
    total += len(batch.jobs)
    if total > limit:
        raise InvalidParameters([("axes", f"that makes {total} jobs; send at most {limit} in a batch.")])
    grid = [_combined(batch, dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]
    spelt = [(fields, {"job": number}) for number, fields in enumerate(batch.jobs)]
    return (grid if _has_grid(batch) else []) + spelt


def _has_grid(batch: BatchRequest) -> bool:
    return bool(batch.prompts) or batch.base is not None


def _axes(batch: BatchRequest) -> dict[str, list[Any]]:
    """Name -> values, only those that are given."""
    found: dict[str, list[Any]] = {"prompt": list(batch.prompts), "seed": _seeds(batch)}
    found |= {name: list(values) for name, values in batch.axes if values}
    return {name: values for name, values in found.items() if values}


def _seeds(batch: BatchRequest) -> list[int]:
    if batch.seeds:
        return list(batch.seeds)
    base = batch.base or BatchBase()
    if base.seed == RANDOM and batch.shared_seed:
        return [resolve_seed(RANDOM, min(max(base.num_images, 1), LARGEST), Findings())]
    return []


def _combined(batch: BatchRequest, values: dict[str, Any]) -> Combination:
    base = (batch.base or BatchBase()).model_dump(exclude_unset=True)
    if "size" in values:
        base = {name: value for name, value in base.items() if name not in ("width", "height")}
    try:
        return RenderFields.model_validate({"prompt": "", **base, **values}), values
    except ValidationError as error:
        raise InvalidParameters([(f"axes.{item['loc'][0]}", str(item["msg"])) for item in error.errors()]) from None
