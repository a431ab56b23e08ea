"""Pictures of every program become fields of a job; what is hostile in them is bounded."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.imagefile import ImageMetadata, encode_png
from core.imagefile.parameters import FoundLora, FoundParameters, read_parameters
from core.imagefile.parameters.found import plain
from core.imagefile.parameters.read import _READERS
from core.parameters.parameters import Findings
from core.parameters.seeds import resolve_seed
from core.render import MAX_SEED, LoraRequest
from core.schemas.images import ImageParameters
from core.schemas.jobs import JobRequest
from tests.unit.imagefile import pictures


def read(data: bytes) -> FoundParameters:
    found = read_parameters(data)
    assert found is not None
    JobRequest.model_validate(found.fields | {"prompt": found.fields.get("prompt", "x")})
    return found


def fields(prompt: str, negative: str | None, *rest: Any) -> dict[str, Any]:  # noqa: ANN401 -- of several kinds
    names = ("num_inference_steps", "guidance_scale", "seed", "width", "height")
    given = {"prompt": prompt, "negative_prompt": negative} | dict(zip(names, rest, strict=True))
    return {name: value for name, value in given.items() if value is not None}


def test_seeds_are_bounded_as_in_jobs() -> None:
    assert resolve_seed(MAX_SEED, 1, Findings()) == MAX_SEED


def test_our_own_record_comes_first() -> None:
    metadata = ImageMetadata(
        prompt="灯塔, \"quoted\"\nNegative prompt: not one", negative_prompt="bad", seed=5, num_inference_steps=9,
        guidance_scale=1.5, width=2, height=1, model="demo", loras=(LoraRequest(name="ink", scale=0.5),), strength=0.4,
        scheduler="EulerDiscreteScheduler",
    )  # fmt: skip
    found = read(encode_png(bytes(6), 2, 1, metadata))
    assert (found.source, found.model_names, found.loras) == ("imagefarm", ["demo"], [FoundLora("ink", 0.5)])
    assert found.fields == fields(metadata.prompt, "bad", 9, 1.5, 5, 2, 1)
    assert found.unmapped == {"strength": 0.4, "scheduler": "EulerDiscreteScheduler"}
    assert "init_image, with strength 0.4" in found.warnings[0]


def ours(**given: Any) -> FoundParameters:  # noqa: ANN401 -- fields of several kinds
    """Return what is found in an image of ours with these fields."""
    common = {"prompt": "a cat", "seed": 5, "num_inference_steps": 9, "width": 4, "height": 2, "model": "demo"}
    return read(encode_png(bytes(24), 4, 2, ImageMetadata.model_validate(common | given)))


def test_what_no_field_repeats_is_said() -> None:
    assert (
        ours(variation_seed=7, variation_strength=0.1).fields.items()
        >= {
            "variation_seed": 7,
            "variation_strength": 0.1,
        }.items()
    )
    assert "through a mask" in ours(strength=1.0).warnings[0]
    coherent = ours(coherent={"seed": 1, "width": 2, "height": 1})
    assert "refine the smaller one" in coherent.warnings[0]
    assert coherent.unmapped["coherent"] == {"seed": 1, "width": 2, "height": 1, "variation_strength": 0.0}
    enlarged = ours(upscale=2, upscaler="lanczos", parent="x")
    assert (enlarged.fields["width"], enlarged.fields["height"]) == (2, 1)
    assert "enlarged 2 times with lanczos" in enlarged.warnings[0]
    upload = ours(prompt="", upscale=2, upscaler="lanczos")
    assert upload.fields == {}
    assert "an upload" in upload.warnings[0]


@pytest.mark.parametrize(
    "data",
    [
        pictures.png(parameters=pictures.A1111),
        pictures.with_comment(pictures.A1111),
        pictures.with_comment(pictures.A1111, "WEBP"),
        pictures.late_text_png(b"parameters", pictures.A1111.encode("latin-1")),
    ],
    ids=["png", "jpeg", "webp", "png-late"],
)
def test_a1111(data: bytes) -> None:
    found = read(data)
    assert found.source == "a1111"
    assert found.fields == fields("a red fox, snow\nsecond line", "blurry, (bad:1.3)", 30, 6.5, 1234567, 512, 768)
    assert (found.model_names, found.loras) == (["v1-5-pruned-emaonly"], [FoundLora("ink", 0.8, "0123456789ab")])
    assert found.unmapped == {
        **{"Sampler": "DPM++ 2M", "Schedule type": "Karras", "Clip skip": "2", "Version": "v1.10.1"},
        "Model hash": "6ce0161689",
    }
    assert any("plain text" in warning for warning in found.warnings)


def test_hires_fix_is_not_taken_for_image_to_image() -> None:
    text = pictures.A1111.replace("Clip skip: 2", "Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: Latent")
    found = read(pictures.png(parameters=text))
    assert "strength" not in found.unmapped
    assert found.unmapped["Denoising strength"] == "0.5"
    assert any("Hires fix" in warning for warning in found.warnings)
    found = read(pictures.png(parameters=pictures.A1111.replace("Clip skip: 2", "Denoising strength: 0.5")))
    assert found.unmapped["strength"] == 0.5


def test_civitai() -> None:
    found = read(pictures.with_comment(pictures.CIVITAI))
    assert (found.source, found.model_names, found.loras) == ("civitai", ["Pony, V6"], [FoundLora("ink", 0.7)])
    assert found.fields == fields("a fox", "bad", 25, 7.0, 99, 832, 1216)
    assert found.unmapped["Civitai metadata"] == {"remixOfId": 5}
    found = read(pictures.with_comment(json.dumps(pictures.EXTRA)))
    assert (found.source, found.fields) == ("civitai", fields("a bird", "bad", 24, 6.0, 8, 1024, 1024))
    assert found.unmapped["airs"] == ["urn:air:sdxl:checkpoint:civitai:1@2"]


def test_comfyui_graph() -> None:
    for data in (pictures.png(prompt=json.dumps(pictures.COMFY)), pictures.comfy_webp(pictures.COMFY)):
        found = read(data)
        assert (found.source, found.loras) == ("comfyui", [FoundLora("ink", 0.8)])
        assert found.model_names == ["SD1.5\\v1-5-pruned-emaonly-fp16.safetensors"]
        assert found.fields == fields("a castle", "watermark", 20, 8.0, 42, 640, 512)
        assert found.unmapped == {"sampler": "euler", "scheduler": "karras"}


def test_comfyui_values_behind_links_and_seeds_beyond_the_farms() -> None:
    found = read(pictures.png(prompt=json.dumps(pictures.Z_IMAGE)))
    assert found.fields | {"seed": 0} == fields("山上的日出", None, 9, 1.0, 0, 768, 1024)
    assert "seed" not in found.fields
    assert found.unmapped["seed"] == str(2**60)
    assert (found.unmapped["shift"], found.unmapped["sampler"]) == (3.0, "res_multistep")
    assert "nodes" not in found.unmapped
    assert found.model_names == ["z_image_turbo-Q8_0.gguf"]


def test_comfyui_custom_sampler_from_a_picture() -> None:
    found = read(pictures.png(prompt=json.dumps(pictures.CUSTOM)))
    assert found.fields == {"prompt": "a cup", "num_inference_steps": 12, "seed": 7, "width": 64, "height": 48}
    assert (found.unmapped["strength"], found.unmapped["guidance"]) == (0.6, 3.5)
    assert found.model_names == ["flux-2-klein-4b-fp8.safetensors"]


def test_comfyui_second_pass() -> None:
    graph = json.loads(json.dumps(pictures.COMFY))
    graph["20"] = {"class_type": "LatentUpscale", "inputs": {"samples": ["3", 0], "width": 1280, "height": 1024}}
    graph["2"] = json.loads(json.dumps(graph["3"]))
    graph["2"]["inputs"] |= {"latent_image": ["20", 0], "seed": 43, "steps": 10, "denoise": 0.5}
    graph["8"]["inputs"]["samples"] = ["2", 0]
    found = read(pictures.png(prompt=json.dumps(graph)))
    assert (found.fields["seed"], found.fields["num_inference_steps"], found.fields["width"]) == (42, 20, 640)
    assert found.unmapped["further_passes"][0]["denoise"] == 0.5


def test_invokeai() -> None:
    found = read(pictures.png(invokeai_metadata=json.dumps(pictures.INVOKE)))
    assert (found.source, found.loras) == ("invokeai", [FoundLora("ink", 0.75)])
    assert found.fields == fields("a lamp", "dark", 28, 7.5, 77, 1024, 768)
    assert found.unmapped["scheduler"] == "dpmpp_2m_k"
    found = read(pictures.png(sd_dash_metadata=json.dumps(pictures.OLD_INVOKE)))
    assert found.fields == fields("a boat", "fog", 50, 7.5, 3, 512, 512)


def test_fooocus() -> None:
    text = json.dumps(pictures.FOOOCUS)
    for data in (pictures.png(parameters=text, fooocus_scheme="fooocus"), pictures.fooocus_jpeg(pictures.FOOOCUS)):
        found = read(data)
        assert (found.source, found.fields) == ("fooocus", fields("a dog", "ugly", 30, 4.0, 5678, 1152, 896))
        assert found.loras == [FoundLora("sd_xl_offset_example-lora_1.0", 0.1, "4852686128")]
        assert any("styles" in warning for warning in found.warnings)
    found = read(pictures.png(parameters=pictures.A1111, fooocus_scheme="a1111"))
    assert (found.source, found.fields["seed"]) == ("fooocus", 1234567)


def test_novelai() -> None:
    found = read(pictures.png(Software="NovelAI", Source="NovelAI Diffusion V4", Comment=json.dumps(pictures.NOVEL)))
    assert (found.source, found.fields) == ("novelai", fields("1girl, rain", "lowres", 28, 5.0, 4242, 832, 1216))
    assert found.unmapped["characters"] == [{"char_caption": "girl, umbrella"}]
    assert found.model_names == ["NovelAI Diffusion V4"]


def test_pictures_without_settings_say_nothing() -> None:
    for data in (pictures.png(), pictures.with_comment("Canon, f: 2, iso: 3, lens: 4"), pictures.png(prompt="not a graph")):
        assert read_parameters(data) is None


_DEEP = '{"a":' * 50_000 + "1" + "}" * 50_000


@pytest.mark.parametrize(
    "texts",
    [
        {"parameters": "x, " * 300_000 + "\nSteps: 1, Sampler: a, Seed: 1, " + "A: [[" * 20_000},
        {"parameters": "x\n" + ', A: ["' * 40_000 + "\nSteps: 1, Sampler: b, Seed: 2"},
        {"prompt": _DEEP, "invokeai_metadata": "[" * 100_000, "Comment": _DEEP},
        {"prompt": json.dumps({str(n): {"class_type": "KSampler", "inputs": {"latent_image": [str(n + 1), 0],
         "positive": [str(n + 1), 0], "steps": 1, "model": [str(n), 0]}} for n in range(9000)})},
        {"prompt": json.dumps({str(n): {"class_type": "Concat", "inputs": {"string_a": [str(n), 0]}} for n in range(5000)})},
        {"prompt": '{"1": {"class_type": "KSampler", "inputs": {"positive": 1, "latent_image": [[]], "steps": NaN, "seed": '
         + "9" * 5000 + "}}}"},
        {"invokeai_metadata": json.dumps({"positive_prompt": "\ud800\0", "seed": 1e400, "loras": [[1]], "model": [[]],
         "cfg_scale": "1e999", "x": {"\ud800": ["\udfff" * 9]}})},
    ],
    ids=["long", "unclosed", "deep", "long-chain", "self-links", "big-numbers", "surrogates"],
)  # fmt: skip
def test_hostile_texts_are_bounded(texts: dict[str, str]) -> None:
    found = read_parameters(pictures.png(**{key: text.encode("utf-8", "replace").decode() for key, text in texts.items()}))
    started = time.process_time()
    for reader in _READERS:
        reader(texts)
    assert time.process_time() - started < 20, "no text may take long"
    if found is not None:
        answer = ImageParameters(source=found.source, fields=found.fields, unmapped=found.unmapped).model_dump_json()
        assert len(json.dumps(found.unmapped)) < 2**20
        assert answer


_KEYS = st.sampled_from(
    (
        *("class_type", "inputs", "positive", "negative", "latent_image", "steps", "seed", "model", "text", "1", "2"),
        *("loras", "image", "prompt", "caption", "v4_prompt", "uc", "scale", "base_model", "performance", "resolution"),
        *("extraMetadata", "lora", "on", "width", "height"),
    )
)
_TEXTS = st.sampled_from(("prompt", "parameters", "invokeai_metadata", "sd-metadata", "Comment", "exif:UserComment"))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=30,
)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    value=_JSON,
    key=st.sampled_from(["prompt", "parameters", "invokeai_metadata", "sd-metadata", "Comment", "exif:UserComment"]),
)
def test_any_json_is_read_without_a_crash(value: object, key: str) -> None:
    texts = {key: json.dumps(value), "Software": "NovelAI", "fooocus_scheme": "fooocus"}
    for reader in _READERS:
        found = reader(texts)
        if found is not None:
            JobRequest.model_validate(found.fields | {"prompt": "x"})
            ImageParameters(unmapped=found.unmapped, warnings=found.warnings).model_dump_json()


def test_unmapped_values_are_cut() -> None:
    deep: Any = "x" * 5000
    for _ in range(9):
        deep = [deep] * 100
    assert len(json.dumps(plain({"a": "x" * 5000, "b": deep}))) < 60**4
    assert plain("x" * 5000) == "x" * 2000


def test_names_of_models_are_bounded() -> None:
    found = FoundParameters("comfyui")
    found.put_model(*(f"model {number}" for number in range(1000)))
    assert found.model_names[0] == "model 0" and len(found.model_names) == 20
