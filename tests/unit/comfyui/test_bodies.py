"""Bodies of ComfyUI's calls whose values an answer could not repeat, or that are too large to keep."""

from __future__ import annotations

import json

import pytest

from api.comfyui.face import MAX_BODY_BYTES, json_object, prompt_request
from core.errors import FarmError, InvalidInput


@pytest.mark.parametrize("value", ["1e999", "-1e999", "NaN", '"\\ud800"', '{"\\udfff": 1}'])
def test_what_no_answer_can_repeat_is_refused(value: str) -> None:
    """Otherwise the prompt is stored, and every later page of the history fails."""
    with pytest.raises(InvalidInput) as caught:
        json_object(f'{{"prompt": {{}}, "extra_data": {{"a": [{value}]}}}}'.encode())
    assert caught.value.code == "malformed_json"


def test_characters_beyond_the_first_plane_are_kept() -> None:
    assert json_object(json.dumps({"a": "🐈", "b": 1e300}).encode()) == {"a": "🐈", "b": 1e300}


def test_a_prompt_that_is_too_large_to_keep_is_refused() -> None:
    with pytest.raises(FarmError) as caught:
        prompt_request(b'{"prompt": {}, "extra_data": {"a": "' + b"x" * MAX_BODY_BYTES + b'"}}')
    assert caught.value.code == "body_too_large"
