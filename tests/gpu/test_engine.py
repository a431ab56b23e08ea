"""A whole engine on a GPU: its tuning choices keep the image within their bounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.gpu.requirements import needs_a_gpu, skip_below
from tests.integration.engine.conftest import FAULTY, new_client
from tests.integration.engine.recorder import Recorder, a_request
from worker.engine.client import EngineClient
from worker.engine.messages import EngineInfo, EngineLost, Rendered
from worker.memory.quantize import MIN_CAPABILITY
from worker.memory.tiers import PackedForm
from worker.models.tiny_models import build_tiny_model

pytestmark = [*needs_a_gpu, pytest.mark.timeout(900)]
MODEL = "z-image-turbo"
LOAD_SECONDS = 600.0


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a tiny model that computes in bf16 on a GPU."""
    folder = tmp_path_factory.mktemp("gpu")
    build_tiny_model(MODEL, folder / "tiny-model")
    return folder


@contextmanager
def on_gpu(models_dir: Path, **changes: object) -> Iterator[tuple[EngineClient, Recorder]]:
    """Start the real engine over the tiny model, tuned and warmed up; untuned unless changed."""
    plain = {"device": "cuda", "module": "worker.engine", "memory_policy": "resident", "step_timeout_seconds": 120.0}
    model = {"model": MODEL, "model_folders": {MODEL: models_dir / "tiny-model"}}
    fixed = {"load_timeout_seconds": LOAD_SECONDS, "token_budget": 0, "compile_blocks": False}
    client, recorder = new_client(models_dir, None, **{**plain, **model, **fixed, "attention_backend": "native", **changes})
    recorder.timeout_seconds = LOAD_SECONDS
    client.start()
    try:
        recorder.wait_ready()
        yield client, recorder
    finally:
        client.stop(5)


def info_of(client: EngineClient) -> EngineInfo:
    assert client.info is not None
    return client.info


def render(client: EngineClient, recorder: Recorder, index: int = 0, strict: bool = False) -> np.ndarray:
    """Render the same image for every index; unless strict, compiled blocks run even when it is alone in its pass."""
    request = a_request(index, size=256, steps=4, strict=strict, seed=7)
    client.submit(request)
    ended = recorder.wait_end(request.id)
    assert isinstance(ended, Rendered)
    return np.frombuffer(ended.pixels, np.uint8).astype(np.float32)


@pytest.fixture(scope="module")
def plain_image(models_dir: Path) -> np.ndarray:
    """Render with native attention, uncompiled, all in bf16."""
    with on_gpu(models_dir) as (client, recorder):
        assert info_of(client).dtype == "bfloat16"
        return render(client, recorder)


def test_the_fastest_attention_renders_the_same_image(models_dir: Path, plain_image: np.ndarray) -> None:
    with on_gpu(models_dir, attention_backend="auto") as (client, recorder):
        assert info_of(client).attention_backend not in ("", "auto")
        assert np.abs(render(client, recorder) - plain_image).mean() <= 3.0


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_blocks_and_cuda_graphs_render_the_same_image(mode: str, models_dir: Path, plain_image: np.ndarray) -> None:
    with on_gpu(models_dir, compile_blocks=True, compile_mode=mode) as (client, recorder):
        assert info_of(client).versions["compiled_blocks"] == "true"
        assert info_of(client).versions["compile_mode"] == mode
        first = render(client, recorder)
        assert np.abs(first - plain_image).mean() <= 3.0
        assert (render(client, recorder, 1) == first).all(), "a later replay must not overwrite earlier outputs"
        assert (render(client, recorder, 2, strict=True) == plain_image).all(), "strict requests bypass compiled blocks"


@pytest.mark.parametrize(("policy", "product", "limit"), [("int8", "int8", 6.0), ("fp8", "fp8", 12.0)])
def test_products_in_eight_bits_stay_close(
    policy: str, product: PackedForm, limit: float, models_dir: Path, plain_image: np.ndarray
) -> None:
    skip_below(MIN_CAPABILITY[product])
    with on_gpu(models_dir, memory_policy=policy) as (client, recorder):
        assert info_of(client).versions["matmul"] == product
        assert np.abs(render(client, recorder) - plain_image).mean() <= limit


def test_an_image_decoded_during_the_steps_of_others_is_the_same(models_dir: Path, plain_image: np.ndarray) -> None:
    with on_gpu(models_dir) as (client, recorder):
        others = [a_request(index, size=256, steps=30) for index in range(1, 4)]
        for request in others:
            client.submit(request)
        assert (render(client, recorder, strict=True) == plain_image).all()
        assert all(isinstance(recorder.wait_end(request.id), Rendered) for request in others)


def test_a_broken_gpu_gets_a_new_engine(models_dir: Path, plain_image: np.ndarray) -> None:
    with on_gpu(models_dir, module=FAULTY) as (client, recorder):
        client.submit(a_request(1, "device-assert", size=256))
        assert "status 70" in recorder.wait(EngineLost).reason
        recorder.wait_ready(2)
        assert (render(client, recorder) == plain_image).all()
