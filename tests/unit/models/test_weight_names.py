"""Names of weight files are parsed, and the right set of a component is chosen."""

from __future__ import annotations

import pytest

from core.catalogue.weight_names import WeightSet, choose_set, parse_weight_name


@pytest.mark.parametrize(
    ("name", "plain", "variant", "suffix"),
    [
        ("model.safetensors", "model.safetensors", None, "safetensors"),
        ("pytorch_model.bin", "pytorch_model.bin", None, "bin"),
        ("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors", "fp16", "safetensors"),
        ("model-00001-of-00003.safetensors", "model-00001-of-00003.safetensors", None, "safetensors"),
        ("model.fp16-00001-of-00003.safetensors", "model-00001-of-00003.safetensors", "fp16", "safetensors"),
        ("model-00001-of-00003.fp16.safetensors", "model-00001-of-00003.safetensors", "fp16", "safetensors"),
        ("model.safetensors.index.json", "model.safetensors.index.json", None, "safetensors"),
        ("model.safetensors.index.fp16.json", "model.safetensors.index.json", "fp16", "safetensors"),
    ],
)
def test_a_weight_file_name_is_parsed(name: str, plain: str, variant: str | None, suffix: str) -> None:
    found = parse_weight_name(name)
    assert found is not None
    assert (found.plain, found.belongs_to) == (plain, WeightSet(variant, suffix))
    assert found.is_index == ("index" in name)


@pytest.mark.parametrize("name", ["config.json", "merges.txt", "model.onnx", "openvino_model.xml"])
def test_other_files_are_not_weights(name: str) -> None:
    assert parse_weight_name(name) is None


@pytest.mark.parametrize(
    ("names", "variant", "chosen"),
    [
        (["m.safetensors", "m.bin"], None, ["m.safetensors"]),
        (["m.safetensors", "m.fp16.safetensors"], None, ["m.safetensors"]),
        (["m.safetensors", "m.fp16.safetensors"], "fp16", ["m.fp16.safetensors"]),
        (["m.fp16.safetensors"], None, ["m.fp16.safetensors"]),
        (["m.non_ema.safetensors", "m.safetensors"], "fp16", ["m.safetensors"]),
        (["m.bin", "m.fp16.bin"], "fp16", ["m.fp16.bin"]),
        (["m.safetensors", "m.fp16.bin"], "fp16", ["m.safetensors"]),
        (["config.json"], None, []),
    ],
)
def test_the_preferred_set_is_chosen(names: list[str], variant: str | None, chosen: list[str]) -> None:
    assert [found.name for found in choose_set(names, variant)] == chosen
