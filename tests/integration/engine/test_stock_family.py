"""A stock pipeline that is called as a whole: bit-identical, with progress, and it can be canceled between steps."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch._dynamo.config
from diffusers import FluxPipeline

from tests.integration.engine.recorder import a_request
from tests.integration.engine.tiny_models import TinyModel, random_png, tiny_model
from worker.engine.builder import build_engine
from worker.engine.parts import EngineParts
from worker.engine.spec import EngineSpec
from worker.pipelines.family import FamilyContext
from worker.pipelines.stock.family import StockFamily, to_vae_layout
from worker.pipelines.stock.stepped_call import SteppedCall


@pytest.fixture
def flux(models_dir: Path) -> TinyModel:
    torch.set_num_threads(1)
    return tiny_model("flux2-klein-4b", models_dir, "bfloat16")


def test_the_image_is_bit_identical_to_the_pipelines(flux: TinyModel) -> None:
    request = a_request(3, "a cat", 64, 3)
    sample = flux.start(request)
    seen = []
    while sample.step < sample.steps:
        flux.family.step([sample])
        seen.append((sample.step, sample.steps))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    pixels = flux.family.decode(sample).numpy().tobytes()
    assert (
        pixels
        == flux.stock(
            prompt="a cat",
            width=64,
            height=64,
            num_inference_steps=3,
            guidance_scale=1.0,
            generator=torch.Generator("cpu").manual_seed(3),
            output_type="pil",
        )
        .images[0]
        .tobytes()
    )


@pytest.fixture
def normed_flux(flux: TinyModel) -> Iterator[TinyModel]:
    """Return the model with a VAE batch norm that has an effect, as with trained weights."""
    norms = [pipeline.vae.bn for pipeline in (flux.pipeline, flux.stock)]
    for norm in norms:
        norm.running_mean.copy_(torch.linspace(-1, 1, norm.num_features))
        norm.running_var.copy_(torch.linspace(0.5, 4, norm.num_features))
    yield flux
    for norm in norms:
        norm.reset_running_stats()


def test_a_preview_uses_the_latents_that_the_pipeline_would_decode(normed_flux: TinyModel) -> None:
    flux = normed_flux
    sample = flux.start(a_request(3, "a cat", 64, 2, height=96))
    assert flux.family.preview(sample) is None, "there is no preview before the first step"
    while sample.step < sample.steps:
        flux.family.step([sample])
        preview = flux.family.preview(sample)
        assert preview is not None
        assert preview.shape == (12, 8, 3)
        assert preview.float().std() > 0
    options = {"width": 64, "height": 96, "num_inference_steps": 2, "guidance_scale": 1.0, "output_type": "latent"}
    latents = flux.stock(prompt="a cat", generator=torch.Generator("cpu").manual_seed(3), **options).images
    found = to_vae_layout(flux.pipeline, sample.callback_state.latents, 64, 96)
    flux.family.close(sample)
    assert found is not None
    assert torch.equal(found, latents)


def test_flux_latents_are_unpacked_by_the_pipelines_own_code() -> None:
    latents = torch.randn((1, 16, 12, 8), generator=torch.Generator().manual_seed(0))
    vae = SimpleNamespace(config=SimpleNamespace(latent_channels=16))
    pipeline = SimpleNamespace(vae=vae, vae_scale_factor=8, _unpack_latents=FluxPipeline._unpack_latents)
    found = to_vae_layout(pipeline, FluxPipeline._pack_latents(latents, 1, 16, 12, 8), 64, 96)
    assert found is not None
    assert torch.equal(found, latents)


def test_latents_of_unknown_layout_have_no_preview(flux: TinyModel) -> None:
    for shape in ((1, 5, 8, 8), (8, 8, 8), (1, 8, 1, 8, 8)):
        latents = torch.zeros(shape, dtype=torch.bfloat16)
        found = to_vae_layout(SimpleNamespace(vae=flux.pipeline.vae), latents, 64, 64)  # The pipeline has no unpacking.
        assert found is None


def test_a_canceled_sample_leaves_the_pipeline_usable(flux: TinyModel) -> None:
    expected = flux.family.decode(flux.alone(a_request(1, size=64, steps=2)))
    canceled = flux.start(a_request(2, size=64, steps=5))
    flux.family.step([canceled])
    flux.family.close(canceled)
    calls = [thread for thread in threading.enumerate() if thread.name == "stock-pipeline"]
    for call in calls:
        call.join(20)  # Its last action was to report that it is done.
    assert not any(call.is_alive() for call in calls)
    assert torch.equal(flux.family.decode(flux.alone(a_request(1, size=64, steps=2))), expected)


def test_a_canceled_sample_leaves_nothing_on_the_device(flux: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    cleared: list[str] = []
    monkeypatch.setattr(flux.pipeline, "maybe_free_model_hooks", lambda: cleared.append("now"), raising=False)
    done = flux.alone(a_request(1, size=64, steps=1))
    flux.family.decode(done)
    assert cleared == ["now"], "cleared by the pipeline's own call"
    flux.family.close(done)
    assert cleared == ["now"]
    canceled = flux.start(a_request(2, size=64, steps=5))
    flux.family.step([canceled])
    latents = weakref.ref(canceled.callback_state.latents)
    flux.family.close(canceled)
    assert cleared == ["now"] * 2
    del canceled
    assert latents() is None, "freed without the garbage collector"


def test_a_call_on_its_own_thread_uses_the_engines_device(flux: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, torch.device]] = []
    monkeypatch.setattr(
        "worker.pipelines.stock.family.use_device", lambda device: seen.append((threading.current_thread().name, device))
    )
    flux.alone(a_request(1, size=64, steps=1))
    assert seen == [("stock-pipeline", torch.device("cpu"))]


def test_an_input_image_changes_the_result(flux: TinyModel) -> None:
    plain = flux.family.decode(flux.alone(a_request(1, size=64, steps=2)))
    edited = flux.family.decode(flux.alone(a_request(1, size=64, steps=2, has_init_image=True), random_png(64, 64)))
    assert edited.shape == plain.shape
    assert not torch.equal(edited, plain)


def test_an_error_of_the_pipeline_is_raised_by_the_step(flux: TinyModel) -> None:
    sample = flux.start(a_request(1, size=64, steps=2))
    flux.pipeline.transformer.train()
    broken = flux.pipeline.transformer
    flux.pipeline.transformer = None
    try:
        for _ in range(2):
            with pytest.raises(AttributeError):
                flux.family.step([sample])
    finally:
        flux.pipeline.transformer = broken.eval()
    flux.family.close(sample)


def test_only_one_sample_at_a_time(flux: TinyModel) -> None:
    assert flux.family.max_samples == 1


def test_a_stepped_call_runs_only_when_resumed() -> None:
    order: list[str] = []

    def call(checkpoint: object) -> str:
        for index in range(2):
            order.append(f"work {index}")
            checkpoint()  # type: ignore[operator]
        return "done"

    stepped = SteppedCall(call)
    stepped.resume()
    order.append("between")
    stepped.resume()
    assert order == ["work 0", "between", "work 1"]
    assert not stepped.finished
    assert stepped.result() == "done"
    stepped.close()


def build(models_dir: Path) -> EngineParts:
    """Build the engine as a worker does."""
    model_id = "flux2-klein-4b"
    spec = EngineSpec(
        model=model_id,
        device="cpu",
        memory_policy="auto",
        models_dir=models_dir / "opened",
        capacity=0,
        step_timeout_seconds=5.0,
        load_timeout_seconds=60.0,
        model_folders={model_id: models_dir / f"{model_id}-bfloat16"},
    )
    return build_engine(spec, lambda *_: None)


@pytest.mark.usefixtures("flux")  # Builds the folder.
def test_a_worker_claims_one_job_ahead(models_dir: Path) -> None:
    assert build(models_dir).info.capacity == 2, "one renders, one is ready"


@pytest.mark.usefixtures("flux")
def test_progress_within_a_step_needs_a_pipeline_with_steps(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_steps = build(models_dir)
    assert with_steps.blocks
    assert not with_steps.aborts_steps

    class InOneCall(StockFamily):
        def __init__(self, loaded: FamilyContext) -> None:
            super().__init__(loaded)
            self.has_steps = False

    monkeypatch.setattr("worker.pipelines.stock.family.StockFamily", InOneCall)
    assert not build(models_dir).blocks


def test_a_call_compiles_with_the_options_of_the_thread_that_starts_it() -> None:
    """Torch keeps them for each thread; with its own limit of graphs, later requests would fail."""
    with torch._dynamo.config.patch(recompile_limit=61):
        call = SteppedCall(lambda checkpoint: torch._dynamo.config.recompile_limit)
    assert call.result() == 61
