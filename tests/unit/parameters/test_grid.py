"""Expansion of batches to jobs."""

from __future__ import annotations

import pytest

from core.parameters import InvalidParameters
from core.parameters.grid import combinations
from core.schemas.batches import BatchRequest


def expanded(limit: int = 1000, **fields: object) -> list[tuple[str, int, int | None]]:
    found = combinations(BatchRequest.model_validate(fields), limit)
    return [(job.prompt, job.seed, job.num_inference_steps) for job, _ in found]


def test_prompts_vary_slowest_and_the_last_axis_fastest() -> None:
    found = expanded(prompts=["a", "b"], seeds=[1, 2], axes={"num_inference_steps": [4, 8]})
    assert found[:3] == [("a", 1, 4), ("a", 1, 8), ("a", 2, 4)]
    assert len(found) == 8


def test_all_jobs_share_one_seed_by_default() -> None:
    assert len({seed for _, seed, _ in expanded(prompts=list("abc"))}) == 1
    assert {seed for _, seed, _ in expanded(prompts=list("abc"), shared_seed=False)} == {-1}
    assert {seed for _, seed, _ in expanded(prompts=list("abc"), base={"seed": 9})} == {9}


def test_listed_jobs_come_last_and_may_be_alone() -> None:
    assert expanded(prompts=["a"], seeds=[1], jobs=[{"prompt": "z", "seed": 3}])[-1] == ("z", 3, None)
    assert expanded(jobs=[{"prompt": "z", "seed": 3}]) == [("z", 3, None)]


def test_a_size_axis_replaces_the_base_size() -> None:
    batch = BatchRequest.model_validate({"prompts": ["a"], "base": {"width": 64, "height": 64}, "axes": {"size": ["96x96"]}})
    job, axes = combinations(batch, 10)[0]
    assert (job.width, job.size, axes["size"]) == (None, "96x96", "96x96")


@pytest.mark.timeout(20)
def test_axes_without_prompts_or_base_are_not_expanded() -> None:
    axes = {"num_inference_steps": [4] * 1000, "guidance_scale": [1] * 1000, "size": ["64x64"] * 1000}
    assert expanded(seeds=[1] * 10_000, axes=axes, jobs=[{"prompt": "z", "seed": 3}]) == [("z", 3, None)]


def test_too_many_jobs_are_refused_before_they_are_expanded() -> None:
    with pytest.raises(InvalidParameters, match="the batch has 1000000000000 jobs"):
        expanded(
            prompts=["x"] * 10_000, seeds=[1] * 10_000, axes={"num_inference_steps": [1] * 1000, "guidance_scale": [1] * 10}
        )
