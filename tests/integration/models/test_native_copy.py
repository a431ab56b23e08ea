"""Weights in a wider dtype are converted once: later loads map the copy and do not read the originals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pytest
import torch

from core.catalogue import ModelPaths
from tests.integration.models.conftest import Load, catalogue_row
from worker.models import tier_reader
from worker.models.load import LoadRequest, load_pipeline
from worker.models.tier_reader import copy_bytes, native_folder, needs_copy

MODEL = "z-image-turbo"
PARTS = ("transformer", "text_encoder", "vae")


@pytest.fixture
def transformer(tiny_models: dict[str, Path]) -> Path:
    """Return the tiny model's folder, in fp32."""
    return tiny_models[MODEL] / "transformer"


Keep = Callable[..., Path]


@pytest.fixture
def keep(transformer: Path, model_paths: ModelPaths) -> Keep:
    """Return a function for the folder to load the transformer from."""

    def keep_it(source: Path = transformer, dtype: torch.dtype = torch.bfloat16, events: list[str] | None = None) -> Path:
        return native_folder(
            source, dtype, model_paths, MODEL, lambda _: events.append("converting") if events is not None else None
        )

    return keep_it


def mapped(file: Path) -> list[range]:
    """Return the addresses of this process that are pages of the file."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(file))]
    return [range(*(int(end, 16) for end in line[0].split("-"))) for line in lines]


def tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yield everything that was read from a file."""
    yield from module.state_dict().values()


def test_a_copy_is_made_once_and_equals_the_stock_weights(load: Load, model_paths: ModelPaths) -> None:
    events: list[str] = []
    request = LoadRequest(model_paths, "cpu")
    first, second = (
        load_pipeline(catalogue_row(MODEL), request, lambda stage, _: events.append(stage)).pipeline for _ in range(2)
    )
    assert [stage for stage, _ in groupby(events)].count("converting") == len(PARTS)
    stock = type(first).from_pretrained(model_paths.folders[MODEL], dtype=torch.bfloat16)
    for name in PARTS:
        expected = getattr(stock, name).state_dict()
        for found in (getattr(first, name).state_dict(), getattr(second, name).state_dict()):
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("policy", ["cpu", "cpu-int8"])
def test_weights_stay_mapped_until_moved_to_a_device(policy: str, load: Load, model_paths: ModelPaths) -> None:
    pipeline = load(MODEL, policy).pipeline
    for name in PARTS:
        form = "int8-bfloat16" if policy == "cpu-int8" and name != "vae" else "bfloat16"
        folder = model_paths.models_dir / MODEL / f"{name}-{form}"
        pages = [addresses for file in folder.glob("*.safetensors") for addresses in mapped(file)]
        assert pages
        assert all(any(tensor.data_ptr() in part for part in pages) for tensor in tensors(getattr(pipeline, name)))


def test_later_loads_do_not_read_the_originals(keep: Keep, transformer: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine" / "transformer"
    source.mkdir(parents=True)
    for file in transformer.iterdir():
        (source / file.name).symlink_to(file)
    copy = keep(source)
    events: list[str] = []
    assert keep(source, events=events) == copy
    assert not events
    weights = next(source.glob("*.safetensors"))
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content)
    keep(source, events=events)
    assert set(events) == {"converting"}


def test_only_weights_that_are_no_narrower_are_copied(keep: Keep, transformer: Path) -> None:
    copy = keep()
    assert needs_copy(transformer, torch.bfloat16)
    assert not needs_copy(transformer, torch.float32)
    assert not needs_copy(copy, torch.bfloat16)
    assert needs_copy(copy, torch.float16)
    assert not needs_copy(copy, torch.float32)
    assert keep(dtype=torch.float32) == transformer


def test_a_pickle_becomes_a_mappable_file(keep: Keep, load: Load, tmp_path: Path) -> None:
    module = load(MODEL).pipeline.transformer
    source = tmp_path / "mine" / "transformer"
    module.save_pretrained(source, safe_serialization=False)
    assert needs_copy(source, torch.bfloat16)
    assert [file.name for file in keep(source).glob("*.safetensors")] == ["diffusion_pytorch_model.safetensors"]


def test_a_full_disk_is_logged_and_the_load_continues(
    load: Load, model_paths: ModelPaths, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tier_reader, "copy_bytes", lambda *_: 10**18)
    with caplog.at_level(logging.WARNING):
        pipeline = load(MODEL).pipeline
    assert pipeline.transformer.dtype == torch.bfloat16
    assert "transformer of z-image-turbo is converted again at every load: Keeping transformer" in caplog.text
    assert not list(model_paths.models_dir.glob("*/*-bfloat16"))


def test_an_unwritable_models_directory_is_logged(
    transformer: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a-file").write_text("no folder")
    model_paths = ModelPaths(tmp_path / "a-file" / "models", {}, tmp_path / "hub")
    assert native_folder(transformer, torch.bfloat16, model_paths, MODEL, lambda _: None) == transformer
    assert "is converted again at every load" in caplog.text


def test_the_predicted_size_equals_the_written_one(keep: Keep, transformer: Path) -> None:
    weights = next(keep().glob("*.safetensors")).stat().st_size
    assert copy_bytes(transformer, torch.bfloat16) == pytest.approx(weights, rel=0.05)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_fusing_a_lora_does_not_change_the_copy(load: Load, model_paths: ModelPaths) -> None:
    load("lcm-sd15")
    file = next((model_paths.models_dir / "lcm-sd15" / "unet-bfloat16").glob("*.safetensors"))
    content = file.read_bytes()
    load("lcm-sd15")
    assert file.read_bytes() == content
