"""What a batch is made of."""

from __future__ import annotations

import pytest

from core.parameters import InvalidParameters
from core.parameters.grid import combinations
from core.schemas.batches import BatchRequest


def made(limit: int = 1000, **fields: object) -> list[tuple[str, int, int | None]]:
    found = combinations(BatchRequest.model_validate(fields), limit)
    return [(job.prompt, job.seed, job.num_inference_steps) for job, _ in found]


def test_prompts_vary_slowest_and_the_last_axis_fastest() -> None:
    found = made(prompts=["a", "b"], seeds=[1, 2], axes={"num_inference_steps": [4, 8]})
    assert found[:3] == [("a", 1, 4), ("a", 1, 8), ("a", 2, 4)]
    assert len(found) == 8


def test_one_seed_for_all_unless_told() -> None:
    assert len({seed for _, seed, _ in made(prompts=list("abc"))}) == 1
    assert {seed for _, seed, _ in made(prompts=list("abc"), shared_seed=False)} == {-1}
    assert {seed for _, seed, _ in made(prompts=list("abc"), base={"seed": 9})} == {9}


def test_jobs_spelt_out_come_last_and_may_be_alone() -> None:
    assert made(prompts=["a"], seeds=[1], jobs=[{"prompt": "z", "seed": 3}])[-1] == ("z", 3, None)
    assert made(jobs=[{"prompt": "z", "seed": 3}]) == [("z", 3, None)]


def test_a_size_axis_replaces_the_base_size() -> None:
    batch = BatchRequest.model_validate({"prompts": ["a"], "base": {"width": 64, "height": 64}, "axes": {"size": ["96x96"]}})
    job, axes = combinations(batch, 10)[0]
    assert (job.width, job.size, axes["size"]) == (None, "96x96", "96x96")


def test_too_many_are_refused_before_they_are_made() -> None:
    with pytest.raises(InvalidParameters, match="that makes 1000000000000 jobs"):
        made(
            prompts=["x"] * 10_000, seeds=[1] * 10_000, axes={"num_inference_steps": [1] * 1000, "guidance_scale": [1] * 10}
        )
