"""Weights are packed straight from their files: to the same bits as a loaded component, without loading it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import ZImageTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers import Qwen3Model

from core.catalogue import ModelPaths
from worker.memory.packing import Packing
from worker.memory.quantize import quantize
from worker.memory.tiers import PACKED_FORMS, PackedForm
from worker.models import component_source
from worker.models.component_source import FolderSource
from worker.models.components import load_component
from worker.models.packed_copy import PACKED_FILE, PackedCopy, save_packed

MODEL = "z-image-turbo"
DTYPE = torch.bfloat16
CLASSES = {"transformer": ("diffusers", "ZImageTransformer2DModel"), "text_encoder": ("transformers", "Qwen3Model")}
Copy = Callable[..., PackedCopy]


@pytest.fixture
def model(tiny_models: dict[str, Path], tmp_path: Path) -> Path:
    """Return the tiny model as on the hub: in shards, the text encoder's names with its language model's prefix."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_models[MODEL], folder)
    for name, cls in (("transformer", ZImageTransformer2DModel), ("text_encoder", Qwen3Model)):
        module = cls.from_pretrained(folder / name)
        shutil.rmtree(folder / name)
        module.save_pretrained(folder / name, max_shard_size="50KB" if name == "text_encoder" else "400KB")
        assert len(list((folder / name).glob("*-of-*.safetensors"))) > 1
    for file in (folder / "text_encoder").glob("*.safetensors"):
        save_file({f"model.{name}": tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    index = folder / "text_encoder" / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('    "', '    "model.').replace('"model.total', '"total'))
    return folder


@pytest.fixture
def copy(model: Path, model_paths: ModelPaths) -> Copy:
    """Return a function for the packed copy of a component."""

    def copy_of(name: str, form: PackedForm = "int8", fractions: list[float] | None = None) -> PackedCopy:
        on_convert = fractions.append if fractions is not None else lambda _: None
        return PackedCopy(FolderSource(model / name, *CLASSES[name]), form, DTYPE, model_paths, MODEL, on_convert)

    return copy_of


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a component is loaded in its own dtype."""

    def refuse(*_: object) -> None:
        raise MemoryError("the whole component was loaded")

    monkeypatch.setattr(component_source, "load_component", refuse)


def assert_packed(found: torch.nn.Module, folder: Path, form: PackedForm) -> None:
    """Compare with `quantize` of the component that the library loads."""
    expected = quantize(load_component(folder, *CLASSES[folder.name], DTYPE), form, DTYPE).state_dict()
    state = found.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype, name
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize("form", PACKED_FORMS)
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.usefixtures("unloaded")
def test_the_bits_equal_those_of_a_loaded_component(name: str, form: PackedForm, copy: Copy, model: Path) -> None:
    fractions: list[float] = []
    assert_packed(copy(name, form, fractions).load(), model / name, form)
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0, abs=0.1)
    assert len(fractions) > 10


def test_packing_is_logged_once(copy: Copy, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            copy("transformer").load()
    assert caplog.text.count("packing transformer into ") == 1


@pytest.mark.parametrize("name", CLASSES)
def test_unknown_names_are_left_to_the_library(name: str, copy: Copy, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packing, "is_supported", False)
    assert_packed(copy(name).load(), model / name, "int8")


@pytest.mark.parametrize("kept", ["_keep_in_fp32_modules", "_keep_in_fp32_modules_strict"])
def test_parts_kept_in_fp32_are_left_to_the_library(
    kept: str, copy: Copy, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Qwen3Model, kept, ["norm"], raising=False)
    assert_packed(copy("text_encoder").load(), model / "text_encoder", "int8")


def test_tied_weights_are_written_under_each_name(tmp_path: Path) -> None:
    embed, head = torch.nn.Linear(4, 3, bias=False), torch.nn.Linear(4, 3, bias=False)
    head.weight = embed.weight
    save_packed(torch.nn.ModuleDict({"embed": embed, "head": head}), tmp_path)
    written = load_file(tmp_path / PACKED_FILE)
    assert written.keys() == {"embed.weight", "head.weight"}
    assert all(torch.equal(tensor, embed.weight) for tensor in written.values())


@pytest.mark.usefixtures("unloaded")
def test_a_full_disk_is_logged_and_the_load_continues(
    copy: Copy, model: Path, model_paths: ModelPaths, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Packing, "size", 10**18)
    with caplog.at_level(logging.WARNING):
        assert_packed(copy("transformer").load(), model / "transformer", "int8")
    assert f"transformer of {MODEL} is packed again at every load: Keeping transformer in int8 needs" in caplog.text
    assert not list(model_paths.models_dir.glob("*/*"))
