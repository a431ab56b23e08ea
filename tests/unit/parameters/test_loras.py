"""LoRAs of a request: tags in prompts, the field, and how they are merged and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.catalogue.loras import LoraLibrary
from core.errors import InvalidInput
from core.parameters import InvalidParameters, RequestLimits, normalise
from core.parameters.loras import parse_lora, without_tags
from core.render import LoraRequest
from core.schemas.jobs import JobRequest
from tests.unit.models.test_lora_facts import write_lora
from tests.unit.models.test_loras import SD15, Z_IMAGE
from tests.unit.parameters.conftest import Normalise, model


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a cat <lora:ink:0.8>", "a cat"),
        ("a cat, <lora:ink:1>, snow", "a cat, snow"),
        ("<lora:a> a cat", "a cat"),
        ("a <LORA:x>b", "a b"),
        ("a, <lora:a>, <lora:b>, c", "a, c"),
        ("a <lora:a><lora:b> c", "a c"),
        ("a cat,<lora:x>", "a cat"),
        ("a <lora:x>  <lora:y>", "a"),
        ("<lora:a>", ""),
        ("a\n<lora:x>\nb", "a\n\nb"),
        ("  no tags,  ", "  no tags,  "),
        ("a <b> <loras:x> <hypernet:x:1>", "a <b> <loras:x> <hypernet:x:1>"),
    ],
)
def test_tags_are_taken_out_with_what_separated_them(text: str, kept: str) -> None:
    assert without_tags(text) == kept


def test_tags_of_both_prompts_and_the_field_are_merged(normalised: Normalise) -> None:
    found = normalised(
        prompt="a cat <lora:ink:0.5>, <lora:gold>",
        negative_prompt="blurry <lora:zap:-1>",
        loras=[{"name": "ink", "scale": 0.9}, {"name": "alone"}],
    )
    parameters = found.parameters
    assert (parameters.prompt, parameters.negative_prompt) == ("a cat", "blurry")
    assert [(lora.name, lora.scale) for lora in parameters.loras] == [
        ("alone", 1.0), ("gold", 1.0), ("ink", 0.9), ("zap", -1.0),
    ]  # fmt: skip
    assert "The LoRA 'ink' has scale 0.9 from `loras`, not 0.5 from the prompt." in found.warnings
    assert "The LoRA 'zap' of the negative prompt is applied to the whole image." in found.warnings
    assert parameters.stored()["loras"][1] == {"name": "gold", "scale": 1.0}


def test_a_request_without_loras_is_stored_as_before(normalised: Normalise) -> None:
    assert "loras" not in normalised().parameters.stored()


def test_two_scales_of_a1111_give_the_first_and_a_warning(normalised: Normalise) -> None:
    found = normalised(prompt="a cat <lora:ink:0.5:0.7>")
    assert found.parameters.loras == (LoraRequest(name="ink", scale=0.5),)
    assert any(warning.startswith("<lora:ink:0.5:0.7> has several values") for warning in found.warnings)
    assert not normalised(prompt="a cat <lora:ink:0.5:0.5>").warnings


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a <lora:>", "names no LoRA"),
        ("a <lora::1>", "names no LoRA"),
        ("a <lora:ink:much>", "is not a number"),
        ("a <lora:ink:nan>", "is out of range"),
        ("a <lora:ink:inf>", "is out of range"),
        ("a <lora:ink:4.1>", "is out of range"),
        ("a <lora:ink:1> <lora:ink:0.5>", "with several scales"),
        ("<lora:ink>", "is empty"),
        (f"a <lora:{'x' * 201}>", "names no LoRA"),
    ],
)
def test_a_tag_that_cannot_be_read_is_refused(normalised: Normalise, prompt: str, message: str) -> None:
    with pytest.raises(InvalidParameters, match=message) as caught:
        normalised(prompt=prompt)
    assert caught.value.problems[0][0] == "prompt"


def test_a_prompt_that_is_too_long_is_not_searched_for_tags(normalised: Normalise) -> None:
    with pytest.raises(InvalidParameters) as caught:
        normalised(prompt="a <lora:>" * 20_000)
    assert [field for field, _ in caught.value.problems] == ["prompt"]


def test_names_sent_twice_and_too_many_are_refused(normalised: Normalise) -> None:
    with pytest.raises(InvalidParameters, match="names 'ink' twice"):
        normalised(loras=[{"name": "ink"}, {"name": "ink"}])
    with pytest.raises(InvalidParameters, match="are 9: send at most 8"):
        normalised(prompt=" ".join(["a", *(f"<lora:{index}>" for index in range(9))]))


@pytest.mark.parametrize(
    "lora",
    [{"name": ""}, {"name": "x", "scale": 5}, {"name": "x", "scale": float("nan")}, {"name": "a\0"}, {"scale": 1}, "ink"],
)
def test_invalid_fields_are_refused(lora: object) -> None:
    with pytest.raises(ValidationError):
        JobRequest.model_validate({"prompt": "a", "loras": [lora]})


def test_names_are_checked_against_the_files_for_the_model(tmp_path: Path) -> None:
    write_lora(tmp_path / "loras/ink.safetensors", Z_IMAGE)
    write_lora(tmp_path / "loras/photo.safetensors", SD15)
    files = LoraLibrary(tmp_path).files()

    def normalised_with(name: str, **changes: Any) -> tuple[LoraRequest, ...]:  # noqa: ANN401 -- fields of a catalogue row
        request = JobRequest.model_validate({"prompt": "a", "loras": [{"name": name}]})
        row = model("demo").model_copy(update=changes)
        return normalise(request, row, RequestLimits(10_000, 16), loras=files).parameters.loras

    assert normalised_with("ink") == (LoraRequest(name="ink"),)
    for name, changes, code in (
        ("nothing", {}, "unknown_lora"),
        ("photo", {}, "wrong_lora_family"),
        ("ink", {"takes_loras": False}, "loras_not_offered"),
    ):
        with pytest.raises(InvalidInput) as caught:
            normalised_with(name, **changes)
        assert (caught.value.code, caught.value.field) == (code, "loras")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("ink", {"name": "ink"}),
        ("ink:0.8", {"name": "ink", "scale": 0.8}),
        (" v1.5 gold : -1 ", {"name": "v1.5 gold", "scale": -1.0}),
        ("a:b", {"name": "a:b"}),
    ],
)
def test_a_name_with_a_scale_is_read(text: str, fields: dict[str, object]) -> None:
    assert parse_lora(text) == fields
