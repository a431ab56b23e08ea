"""GGUF and fp8 files on a GPU: bit-identical to stock diffusers there, within the plan's memory, with LoRAs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import GGUFQuantizationConfig, ZImageTransformer2DModel

from benchmarks.gguf import empty_transformer, write_fp8, write_gguf
from tests.gpu.requirements import needs_a_gpu
from tests.integration.packed.published_files import weight_file
from worker.memory.apply import move_in_one_allocation
from worker.models.single_files.fp8 import load_fp8
from worker.models.single_files.gguf import load_gguf
from worker.models.tiny_models import build_tiny_model

pytestmark = needs_a_gpu
BF16 = torch.bfloat16
GPU = torch.device("cuda:0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny Z-Image's folder, with files of random weights for its transformer."""
    made = build_tiny_model("z-image-turbo", tmp_path_factory.mktemp("tiny"))
    write_gguf(made / "z.gguf", empty_transformer(made))
    write_fp8(made / "z.safetensors", empty_transformer(made))
    return made


def ours(kind: str, folder: Path) -> Any:  # noqa: ANN401 - a diffusers model
    if kind == "gguf":
        model = load_gguf("transformer", weight_file(folder / "z.gguf", "Q8_0"), folder, BF16)
    else:
        model = load_fp8("transformer", weight_file(folder / "z.safetensors", "fp8"), folder, BF16)
    move_in_one_allocation(model, GPU)
    return model


def from_stock(kind: str, folder: Path) -> Any:  # noqa: ANN401 - a diffusers model
    options: dict[str, Any] = {"config": str(folder), "subfolder": "transformer", "dtype": BF16}
    if kind == "gguf":
        options["quantization_config"] = GGUFQuantizationConfig(compute_dtype=BF16)
    file = folder / ("z.gguf" if kind == "gguf" else "z.safetensors")
    return ZImageTransformer2DModel.from_single_file(str(file), **options).to(GPU)


def predicted(model: Any) -> torch.Tensor:  # noqa: ANN401 - a diffusers model
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(16, 1, 16, 16, generator=generator).to(GPU, BF16)
    caption = torch.randn(20, model.config.cap_feat_dim, generator=generator).to(GPU, BF16)
    with torch.no_grad():
        found: torch.Tensor = model([latents], torch.tensor([0.3], device=GPU), [caption], return_dict=False)[0][0]
    return found


@pytest.mark.parametrize("kind", ["gguf", "fp8"])
def test_a_pass_equals_stock_diffusers(kind: str, folder: Path) -> None:
    assert torch.equal(predicted(ours(kind, folder)), predicted(from_stock(kind, folder)))


@pytest.mark.parametrize("kind", ["gguf", "fp8"])
def test_weights_stay_packed_on_the_gpu(kind: str, folder: Path) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    model = ours(kind, folder)
    predicted(model)
    held = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
    assert torch.cuda.memory_allocated() - before < 1.2 * held + 2**25  # The workspace of the library of products.
