"""Packed files through a worker's loader: they stay packed in each memory policy, and the plan counts them as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core.catalogue import CatalogueModel, ModelPaths, load_catalogue
from core.errors import RenderError
from tests.integration.packed.conftest import Whole, component, pipeline_with, rendered
from tests.integration.packed.published_files import (
    llama_text_encoder,
    mostly,
    published_transformer,
    scaled_fp8,
    weight_file,
    write_gguf,
    write_safetensors,
)
from worker.memory.apply import apply_tier
from worker.memory.packed_layers import Int8Linear
from worker.memory.stored_layers import GgufEmbedding, GgufLinear, StoredFp8Linear
from worker.memory.tiers import Tier
from worker.models.load import LoadedPipeline, LoadRequest, load_pipeline
from worker.models.single_files.fp8 import load_fp8
from worker.models.single_files.gguf import load_gguf

BF16 = torch.bfloat16
CPU = torch.device("cpu")
BASE = load_catalogue().get("z-image-turbo")


@pytest.fixture(scope="module")
def files(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write every component as a file: packed ones as GGUF and scaled fp8, the text encoder also in bf16."""
    folder = tmp_path_factory.mktemp("files")
    transformer = published_transformer(whole.transformer)
    encoder = {f"model.{name}": tensor.contiguous() for name, tensor in whole.text_encoder.items()}
    save_file(encoder, str(folder / "qwen_3_4b.safetensors"))
    save_file(dict(component(whole, "vae", BF16).state_dict()), str(folder / "ae.safetensors"))
    return {
        "gguf": write_gguf(folder / "z_image_turbo-Q8_0.gguf", transformer, mostly("Q8_0")),
        "fp8": write_safetensors(folder / "z_image_turbo_fp8.safetensors", scaled_fp8(transformer)),
        "qwen.gguf": write_gguf(
            folder / "Qwen3-4B-Q8_0.gguf", llama_text_encoder(whole.text_encoder), mostly("Q8_0"), "qwen3"
        ),
        "qwen": folder / "qwen_3_4b.safetensors",
        "vae": folder / "ae.safetensors",
    }


@pytest.fixture
def load(files: dict[str, Path], whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    """Return a function that loads a user's row of these files with a policy."""
    # The shipped configurations are of the full size.
    monkeypatch.setattr("core.catalogue.configs.config_folder", lambda *_: whole.folder)

    def load_row(transformer: str, text_encoder: str, policy: str, **changes: object) -> LoadedPipeline:
        parts = {"transformer": files[transformer], "text_encoder": files[text_encoder], "vae": files["vae"]}
        fields = {"id": "mine", "aliases": (), "files": parts}
        row = CatalogueModel.model_validate(BASE.model_dump() | fields | changes)
        paths = ModelPaths(tmp_path / "models", {}, tmp_path / "hub")
        return load_pipeline(row, LoadRequest(paths, "cpu", policy, "bfloat16"), lambda *_: None)

    return load_row


def bytes_of(module: torch.nn.Module) -> int:
    return sum(each.nbytes for each in (*module.parameters(), *module.buffers()))


def test_gguf_of_both_stays_packed(load: Any, files: dict[str, Path], whole: Whole) -> None:  # noqa: ANN401 - a function
    loaded = load("gguf", "qwen.gguf", "cpu")
    pipeline = loaded.pipeline
    assert isinstance(pipeline.transformer.get_submodule("layers.0.feed_forward.w1"), GgufLinear)
    assert isinstance(pipeline.text_encoder.get_submodule("embed_tokens"), GgufEmbedding)
    for name, expected in loaded.plan.estimate.device.items():
        assert bytes_of(getattr(pipeline, name)) == pytest.approx(expected, rel=0.03)
    assert loaded.plan.stored == {"transformer": "Q8_0", "text_encoder": "Q8_0"}
    parts = {
        name: load_gguf(name, weight_file(files[file], "Q8_0", name), whole.folder, BF16)
        for name, file in (("transformer", "gguf"), ("text_encoder", "qwen.gguf"))
    }
    assert torch.equal(rendered(pipeline), rendered(pipeline_with(whole, BF16, **parts)))


def test_fp8_stays_packed(load: Any, files: dict[str, Path]) -> None:  # noqa: ANN401 - a function
    loaded = load("fp8", "qwen", "cpu")
    assert isinstance(loaded.pipeline.transformer.get_submodule("layers.0.feed_forward.w1"), StoredFp8Linear)
    assert bytes_of(loaded.pipeline.transformer) == pytest.approx(loaded.plan.estimate.device["transformer"], rel=0.03)
    assert "as stored: transformer fp8" in loaded.plan.describe()


def test_only_an_unpacked_text_encoder_is_quantised(load: Any) -> None:  # noqa: ANN401 - a function
    loaded = load("gguf", "qwen", "cpu-text-int8")
    assert isinstance(loaded.pipeline.transformer.get_submodule("layers.0.feed_forward.w1"), GgufLinear)
    assert isinstance(loaded.pipeline.text_encoder.get_submodule("layers.0.mlp.up_proj"), Int8Linear)
    assert torch.isfinite(rendered(loaded.pipeline)).all()


@pytest.mark.parametrize("transformer", ["gguf", "fp8"])
def test_packed_weights_are_never_quantised_again(transformer: str, load: Any) -> None:  # noqa: ANN401 - a function
    with pytest.raises(RenderError, match=r"not quantised again\. Use auto or one of: cpu, cpu-text-int8") as caught:
        load(transformer, "qwen", "cpu-int8")
    assert caught.value.code == "invalid_input"


@pytest.mark.parametrize("kind", ["gguf", "fp8"])
def test_streaming_gives_the_same_image(kind: str, files: dict[str, Path], whole: Whole) -> None:
    loader = load_gguf if kind == "gguf" else load_fp8
    transformer = loader("transformer", weight_file(files[kind], "Q8_0"), whole.folder, BF16)
    encoder = load_gguf("text_encoder", weight_file(files["qwen.gguf"], "Q8_0", "text_encoder"), whole.folder, BF16)
    pipeline = pipeline_with(whole, BF16, transformer=transformer, text_encoder=encoder)
    expected = rendered(pipeline)
    tier = Tier("streamed-on-cpu", "", "cpu", denoiser_place="streamed", text_place="streamed", tiled_vae=True)
    apply_tier(pipeline, tier, CPU, lambda _: None)
    assert hasattr(pipeline.transformer, "_diffusers_hook")
    assert torch.equal(rendered(pipeline), expected)
