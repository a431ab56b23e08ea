"""A1111's text: written by its rules, and parsed from any tool or hostile input."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.imagefile.metadata import ImageMetadata
from core.imagefile.parameters_text import format_parameters, parse_parameters
from core.render import LoraRequest
from tests.unit.imagefile.sample_images import METADATA, PROMPTS, RECORD


def test_the_text_has_prompts_and_a_line_of_settings() -> None:
    assert format_parameters(METADATA) == (
        "一只猫坐在窗边, a cat 🐈, “quoted”: yes <lora:ink:0.8>\n"
        "Negative prompt: 模糊, blurry\n"
        "Steps: 8, Sampler: Euler, Schedule type: Simple, CFG scale: 4.5, Seed: 4294967294, Size: 16x8, Model: demo, "
        "Denoising strength: 0.4, Version: imagefarm 0.1.0"
    )


def test_the_shortest_text_still_has_a_line_of_settings() -> None:
    plain = ImageMetadata(prompt="", seed=1, num_inference_steps=4, width=64, height=64, model="m")
    assert format_parameters(plain) == "\nSteps: 4, CFG scale: 1, Seed: 1, Size: 64x64, Model: m, Version: imagefarm"
    assert parse_parameters(format_parameters(plain)).seed == 1


def test_a_start_sigma_is_written_and_read() -> None:
    refined = METADATA.model_copy(update={"strength": None, "start_sigma": 0.45})
    text = format_parameters(refined)
    assert "Size: 16x8, Model: demo, Start sigma: 0.45, Version" in text
    assert (parse_parameters(text).start_sigma, parse_parameters(text).strength) == (0.45, None)


def test_values_that_would_break_the_line_are_quoted() -> None:
    odd = METADATA.model_copy(update={"model": 'my, "odd": model\nname'})
    text = format_parameters(odd)
    assert r'Model: "my, \"odd\": model\nname", ' in text
    assert parse_parameters(text).model == odd.model


def test_the_text_of_another_tool_is_parsed() -> None:
    found = parse_parameters(
        "masterpiece, 1girl\nred hair\nNegative prompt: lowres\nbad hands\r\n"
        "Steps: 20, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 12345, Size: 512x768, Model hash: 6ce0161689, "
        'Model: v1-5, Denoising strength: 0.55, TI hashes: "easynegative: c74b4e810b03, b: 2", Version: v1.10.1'
    )
    assert (found.prompt, found.negative_prompt) == ("masterpiece, 1girl\nred hair", "lowres\nbad hands")
    assert (found.seed, found.num_inference_steps, found.guidance_scale) == (12345, 20, 7.5)
    assert (found.width, found.height, found.model, found.strength) == (512, 768, "v1-5", 0.55)
    assert found.settings["TI hashes"] == "easynegative: c74b4e810b03, b: 2"
    assert found.settings["Version"] == "v1.10.1"


def test_a_last_line_with_two_pairs_is_prompt() -> None:
    found = parse_parameters("a poster\nTitle: big, Color: red")
    assert found.prompt == "a poster\nTitle: big, Color: red"
    assert found.settings == {}


@pytest.mark.parametrize("value", ["twenty", "", "1e5", "9" * 5000])
def test_unreadable_numbers_are_left_out(value: str) -> None:
    found = parse_parameters(f"x\nSteps: {value}, CFG scale: 1, Seed: 2, Size: 4by4")
    assert found.num_inference_steps is None
    assert (found.seed, found.width) == (2, None)


@given(st.text(max_size=2000))
def test_any_text_is_parsed(text: str) -> None:
    assert len(parse_parameters(text).prompt) <= len(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["a" * 2_000_000, ' a:"' * 4096, "a: b, " * 400_000, '"\\' * 8000 + "a:" * 100])
def test_hostile_texts_are_parsed_quickly(text: str) -> None:
    assert len(parse_parameters(text).prompt) <= len(text)


@given(PROMPTS, PROMPTS, PROMPTS.filter(str.strip))
@example("", "", "\r\0")
def test_a_written_text_is_parsed_to_the_same_values(prompt: str, negative: str, model: str) -> None:
    """Except for spaces at line ends, and for prompts that contain the marker of the negative prompt."""
    text = format_parameters(
        METADATA.model_copy(update={"prompt": prompt, "negative_prompt": negative, "model": model, "loras": ()})
    )
    found = parse_parameters(text)
    if not any(line.strip().startswith("Negative prompt:") for line in prompt.split("\n")):
        assert normal(found.prompt) == normal(prompt)
        assert normal(found.negative_prompt) == normal(negative)
    assert found.model == model.replace("\0", "\N{REPLACEMENT CHARACTER}")
    assert (found.seed, found.width, found.height) == (METADATA.seed, 16, 8)


def normal(text: str) -> str:
    cleaned = text.replace("\0", "\N{REPLACEMENT CHARACTER}").replace("\r\n", "\n").strip()
    return "\n".join(line.strip() for line in cleaned.split("\n"))


def test_loras_are_written_as_a1111_does_and_read_back_as_tags() -> None:
    loras = (LoraRequest(name="v1.5 gold", scale=-0.5), LoraRequest(name="a:b"), LoraRequest(name="ink"))
    record = RECORD.model_copy(update={"lora_hashes": {"ink": "0123456789ab", "v1.5 gold": "ba9876543210"}})
    text = format_parameters(METADATA.model_copy(update={"prompt": "a cat", "loras": loras, "record": record}))
    assert text.startswith("a cat <lora:v1.5 gold:-0.5> <lora:ink:1>\n")
    assert 'Lora hashes: "v1.5 gold: ba9876543210, ink: 0123456789ab", Version: ' in text
    assert parse_parameters(text).settings["Lora hashes"] == "v1.5 gold: ba9876543210, ink: 0123456789ab"
