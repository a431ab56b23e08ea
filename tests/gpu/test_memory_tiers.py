"""Every CUDA memory tier on a GPU: it renders close to the resident one, and its peak is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from core.catalogue import ModelPaths, load_catalogue
from tests.gpu.requirements import needs_a_gpu, skip_below
from worker.device.torch_device import device_name, measure_machine, resolve_device
from worker.memory.coefficients import Coefficients
from worker.memory.tiers import TIERS, tier_named
from worker.models.load import LoadedPipeline, LoadRequest, load_pipeline
from worker.models.tiny_models import build_tiny_model

pytestmark = needs_a_gpu
MODEL = "z-image-turbo"
POLICIES = [
    tier.name
    for tier in TIERS
    if tier.device == "cuda" and tier.families in ((), ("z-image",)) and not tier.for_packed_files
]


@pytest.fixture(scope="module")
def model_paths(tmp_path_factory: pytest.TempPathFactory) -> ModelPaths:
    """Return the tiny models as named folders."""
    root = tmp_path_factory.mktemp("gpu")
    tiny_models = {name: build_tiny_model(name, root / name) for name in (MODEL, "flux2-klein-4b")}
    return ModelPaths(root / "models", tiny_models, root / "hub")


@pytest.fixture(autouse=True)
def reset_peaks() -> Iterator[None]:
    """Measure each test's own peak."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield
    torch.cuda.empty_cache()


def load(model_paths: ModelPaths, policy: str, model: str = MODEL) -> LoadedPipeline:
    """Load on the first GPU."""
    return load_pipeline(load_catalogue().get(model), LoadRequest(model_paths, "cuda", policy), lambda *_: None)


def render(loaded: LoadedPipeline) -> np.ndarray:
    """Render a small image; captions are encoded on the tier's text device, as the engine does."""
    pipeline = loaded.pipeline
    text_device = torch.device("cpu") if loaded.plan.tier.text_place == "cpu" else loaded.device
    embeds, _ = pipeline.encode_prompt("a cat", device=text_device, do_classifier_free_guidance=False)
    latents = pipeline(
        prompt_embeds=[embed.to(loaded.device) for embed in embeds],
        width=128,
        height=128,
        num_inference_steps=4,
        guidance_scale=0.0,
        generator=torch.Generator("cpu").manual_seed(1),
        output_type="latent",
    ).images
    return np.asarray(latents.float().cpu())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_tier_renders_close_to_resident(policy: str, model_paths: ModelPaths) -> None:
    tier = tier_named(policy)
    assert tier is not None
    skip_below(tier.min_capability)
    expected = render(load(model_paths, "resident"))
    loaded = load(model_paths, policy)
    assert loaded.plan.policy == policy
    found = render(loaded)
    assert np.isfinite(found).all()
    limit = {"int4-lean": 0.5, "fp8-offload": 0.3, "fp8": 0.3}.get(policy, 0.15)
    assert np.abs(found - expected).mean() <= limit


def test_streamed_weights_stay_off_the_device(model_paths: ModelPaths) -> None:
    loaded = load(model_paths, "offload")
    render(loaded)  # The first product allocates its library's workspace.
    before = torch.cuda.memory_allocated()
    render(loaded)
    assert torch.cuda.memory_allocated() - before < loaded.plan.estimate.host_total / 2


def test_components_by_turns_render(model_paths: ModelPaths) -> None:
    loaded = load(model_paths, "by-turns", "flux2-klein-4b")
    image = loaded.pipeline(prompt="a cat", width=128, height=128, num_inference_steps=2, output_type="np").images[0]
    assert np.isfinite(image).all()


def test_free_memory_is_measured_on_the_gpu() -> None:
    device = resolve_device("auto")
    found = measure_machine(device)
    assert found.device == "cuda:0"
    assert 0 < found.free_bytes <= torch.cuda.get_device_properties(device).total_memory


def test_a_recorded_peak_corrects_the_estimate(model_paths: ModelPaths, tmp_path: Path) -> None:
    loaded = load(model_paths, "resident")
    before = torch.cuda.memory_allocated()
    render(loaded)
    measured = torch.cuda.max_memory_allocated() - before
    learned = Coefficients(tmp_path)
    learned.record(MODEL, "resident", device_name(loaded.device), loaded.plan.estimate.activations(128, 128), measured)
    assert learned.get(MODEL, "resident", device_name(loaded.device)) > 0
