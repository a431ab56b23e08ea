"""Conversion: pickles, shards and variants become plain safetensors of one dtype that load to the same weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from core.catalogue.model_folder import missing_files
from core.errors import RenderError
from worker.models.pull.convert import convert, weight_bytes
from worker.models.pull.progress import Meter, PullProgress


def run(source: Path, target: Path, dtype: str = "bfloat16", variant: str | None = None) -> PullProgress:
    """Convert and return the last progress."""
    events: list[PullProgress] = []
    target.mkdir()
    convert(source, target, dtype, variant, Meter("converting", weight_bytes(source, variant), events.append))
    assert missing_files(target) == []
    return events[-1]


def weights(folder: Path, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    """Return all weights as the stock pipeline loads them."""
    pipeline = DiffusionPipeline.from_pretrained(str(folder), dtype=dtype)
    modules = {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return {f"{name}.{key}": value for name, part in modules.items() for key, value in part.state_dict().items()}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def source(tmp_path: Path, tiny_models: dict[str, Path]) -> Path:
    """Return a copy of a tiny model that a test may change."""
    shutil.copytree(tiny_models["sd-turbo"], tmp_path / "source")
    return tmp_path / "source"


def test_weights_are_cast_to_the_dtype(source: Path, tmp_path: Path) -> None:
    last = run(source, tmp_path / "out")
    assert last.done_bytes == last.total_bytes
    assert_same(weights(tmp_path / "out"), weights(source))
    stored = load_file(tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_pickles_become_safetensors(source: Path, tmp_path: Path) -> None:
    expected = weights(source)
    names = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "pytorch_model"}
    for folder, stem in names.items():
        file = next((source / folder).glob("*.safetensors"))
        torch.save(load_file(file), source / folder / f"{stem}.bin")
        file.unlink()
    run(source, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.bin"))
    assert_same(weights(tmp_path / "out"), expected)


def test_a_pickle_with_code_is_refused(source: Path, tmp_path: Path) -> None:
    file = source / "unet" / "diffusion_pytorch_model.safetensors"
    file.unlink()
    torch.save({"weight": torch.zeros(1), "code": Path("/")}, file.with_suffix(".bin"))
    with pytest.raises(Exception, match="Weights only load failed"):
        run(source, tmp_path / "out")


def test_shards_keep_their_index(source: Path, tmp_path: Path) -> None:
    expected = weights(source)
    pipeline = DiffusionPipeline.from_pretrained(str(source))
    shutil.rmtree(source)
    pipeline.save_pretrained(str(source), max_shard_size="200KB")
    assert len(list((source / "unet").glob("*-of-*.safetensors"))) > 1
    run(source, tmp_path / "out")
    assert_same(weights(tmp_path / "out"), expected)
    index = next((tmp_path / "out" / "unet").glob("*.index.json"))
    total = sum(t.nbytes for name, t in expected.items() if name.startswith("unet."))
    assert json.loads(index.read_text())["metadata"]["total_size"] == total


def test_a_sharded_variant_loses_its_name(source: Path, tmp_path: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(str(source), dtype=torch.float16)
    expected = weights(source, torch.float16)
    shutil.rmtree(source)
    pipeline.save_pretrained(str(source), variant="fp16", max_shard_size="100KB")
    run(source, tmp_path / "out", "float16", "fp16")
    assert not [path for path in (tmp_path / "out").rglob("*") if "fp16" in path.name]
    assert_same(weights(tmp_path / "out", torch.float16), expected)


def test_a_copy_that_cannot_load_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "vae" / "config.json").unlink()
    with pytest.raises(RenderError, match=r"incomplete: .*vae/config.json is missing"):
        run(source, tmp_path / "out")
