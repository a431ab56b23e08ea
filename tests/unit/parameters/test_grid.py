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


def test_a_prompt_matrix_renders_every_combination_of_its_parts() -> None:
    batch = BatchRequest.model_validate(
        {"prompts": ["a street, | at night | in {rain|snow},"], "seeds": [1], "matrix": True}
    )
    found = combinations(batch, 10)
    assert [job.prompt for job, _ in found] == [
        "a street", "a street, in {rain|snow}", "a street, at night", "a street, at night, in {rain|snow}",
    ]  # fmt: skip
    assert found[3][1] == {"prompt": "a street", "matrix_1": "at night", "matrix_2": "in {rain|snow}", "seed": 1}
    from_base = BatchRequest.model_validate({"base": {"prompt": "a|b"}, "matrix": True, "axes": {"guidance_scale": [1, 2]}})
    assert [job.prompt for job, _ in combinations(from_base, 10)] == ["a", "a", "a, b", "a, b"]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["a"], "needs a prompt with optional parts"),
        (["a|b", "c|d"], "takes one prompt"),
        (["a" + "|b" * 11], "11 optional"),
    ],
)
def test_a_prompt_that_is_no_matrix_is_refused(prompts: list[str], message: str) -> None:
    with pytest.raises(InvalidParameters, match=message):
        combinations(BatchRequest.model_validate({"prompts": prompts, "matrix": True}), 10_000)


def test_search_and_replace_changes_both_prompts() -> None:
    fields = {
        "prompts": ["a red fox, red sky"],
        "base": {"negative_prompt": "red tint"},
        "axes": {"prompt_sr": ["red", "blue"]},
    }
    found = combinations(BatchRequest.model_validate(fields), 10)
    assert [(job.prompt, job.negative_prompt) for job, _ in found] == [
        ("a red fox, red sky", "red tint"),
        ("a blue fox, blue sky", "blue tint"),
    ]
    assert found[1][1]["prompt_sr"] == "blue"
    both = {"prompts": ["a | b"], "matrix": True, "axes": {"prompt_sr": ["b", "c"]}}
    assert [job.prompt for job, _ in combinations(BatchRequest.model_validate(both), 10)][2:] == ["a, b", "a, c"]


def test_search_and_replace_needs_its_first_text_in_the_prompt() -> None:
    fields = {"prompts": ["a red fox"], "axes": {"prompt_sr": ["green", "blue"]}}
    with pytest.raises(InvalidParameters, match="begins with 'green', which is not in the prompt 'a red fox'"):
        combinations(BatchRequest.model_validate(fields), 10)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompts": ["ee"], "axes": {"prompt_sr": ["e", "x" * 60]}}, "prompt"),
        ({"prompts": ["a | b" + "c" * 100], "matrix": True}, "prompt"),
        ({"prompts": ["e"], "base": {"negative_prompt": "ee"}, "axes": {"prompt_sr": ["e", "x" * 60]}}, "negative_prompt"),
    ],
)
def test_prompts_that_would_be_too_long_are_never_built(fields: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        combinations(BatchRequest.model_validate(fields), 10, 100)
    assert caught.value.field == field and "send at most 100" in caught.value.message
