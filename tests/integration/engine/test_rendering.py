"""Requests rendered by a real engine process, end to end."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from core.render import LoraRequest
from tests.integration.engine.recorder import Recorder, a_request
from tests.integration.engine.tiny_models import TinyModel, random_png
from worker.engine.client import EngineClient
from worker.engine.messages import Preview, Rendered, RequestFailed, Started, Step
from worker.models.tiny_models.build import build_lora

Engine = tuple[EngineClient, Recorder]


def render(engine: Engine, index: int = 0, init_image: bytes | None = None, **changes: Any) -> Rendered:  # noqa: ANN401 -- fields
    client, recorder = engine
    request = a_request(index, **changes)
    client.submit(request, init_image)
    ended = recorder.wait_end(request.id)
    assert isinstance(ended, Rendered), ended
    return ended


@pytest.fixture(scope="module")
def demo(models_dir: Path, shared_engine: Engine) -> TinyModel:
    """Return the weights that the engine has built and loaded."""
    torch.set_num_threads(1)
    return TinyModel("demo", models_dir, "float32")


def test_pixels_are_bit_identical_to_the_stock_pipelines(engine: Engine, demo: TinyModel) -> None:
    request = a_request(7, "a cat", 96, 5, guidance_scale=2.0, negative_prompt="dog")
    engine[0].submit(request)
    ended = engine[1].wait_end(request.id)
    assert isinstance(ended, Rendered)
    assert ended.pixels == demo.expected(request, "pil").tobytes()
    assert (ended.width, ended.height) == (96, 96)


def test_image_to_image_is_bit_identical(engine: Engine, demo: TinyModel) -> None:
    image = random_png(64, 96)
    fields: dict[str, Any] = {"width": 64, "height": 96, "strength": 0.5, "has_init_image": True}
    ended = render(engine, 8, image, **fields)
    assert ended.pixels == demo.expected(a_request(8, **fields), "pil", image).tobytes()


def test_an_input_image_of_another_size_is_resized(engine: Engine) -> None:
    ended = render(engine, 9, random_png(50, 30), strength=0.9, has_init_image=True)
    assert (ended.width, ended.height) == (64, 64)


def test_events_arrive_in_order(engine: Engine) -> None:
    render(engine, prompt="slow", steps=6)
    kinds = [type(event) for event in engine[1].events]
    assert kinds[0] is Started
    assert kinds[-1] is Rendered
    steps = [event for event in engine[1].events if isinstance(event, Step)]
    assert [event.step for event in steps] == sorted({event.step for event in steps})
    assert steps[-1].step == steps[-1].steps == 6
    assert steps[-1].eta_seconds == 0
    assert all(event.seconds_per_step > 0 for event in steps)
    assert steps[0].eta_seconds == pytest.approx(steps[0].seconds_per_step * (6 - steps[0].step))


def test_previews_are_sent_every_n_steps_except_the_last(engine: Engine) -> None:
    render(engine, steps=6, preview_every=2, width=64, height=128)
    previews = [event for event in engine[1].events if isinstance(event, Preview)]
    assert [event.step for event in previews] == [2, 4]
    image = Image.open(io.BytesIO(previews[0].image))
    assert image.format == "JPEG"
    assert image.size == (previews[0].width, previews[0].height) == (128, 256)


def test_the_record_describes_the_render(engine: Engine) -> None:
    ended = render(engine, steps=4, guidance_scale=3.0)
    info, record = engine[0].info, ended.record
    assert info is not None
    assert record.family == "z-image"
    assert record.dtype == info.dtype
    assert record.memory_policy == info.memory_policy != "auto"
    assert record.batch_sizes == [1, 1, 1, 1]
    assert record.batches == {"64x64 guided": 4}
    assert record.pipeline_guidance_scale == 2.0
    assert record.sigmas_or_timesteps == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])
    assert record.versions["torch"] == torch.__version__
    assert record.versions["cpu_threads"] == "1"
    assert record.versions["matmul"] == record.dtype
    assert record.attention_backend == "native"


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_the_record_says_that_a_lora_fits_in_part(engine: Engine, demo: TinyModel, models_dir: Path) -> None:
    folder = models_dir / "demo" / "loras"
    file = build_lora(demo.stock, folder).rename(folder / "ink.safetensors")
    save_file({name.replace(".to_q.", ".other."): tensor for name, tensor in load_file(file).items()}, file)
    try:
        (warning,) = render(engine, steps=2, loras=(LoraRequest(name="ink"),)).record.warnings
    finally:
        file.unlink()
    assert "'ink' fits this model in part" in warning
    assert render(engine, 1, steps=2).record.warnings == []


def test_timings_are_positive(engine: Engine) -> None:
    timings = render(engine, steps=4, prompt="a new prompt").timings
    assert timings.waited_seconds >= 0
    assert min(timings.encode_seconds, timings.steps_seconds, timings.decode_seconds) > 0


def test_simultaneous_requests_share_passes_unless_strict(engine: Engine) -> None:
    client, recorder = engine
    client.submit(a_request(0, "slow a", steps=12))
    client.submit(a_request(1, "b", steps=8))
    client.submit(a_request(2, "c", steps=8, strict=True))
    ended = [recorder.wait_end(f"job/1/{index}") for index in range(3)]
    assert all(isinstance(each, Rendered) for each in ended)
    records = [each.record for each in ended if isinstance(each, Rendered)]
    sizes = [record.batch_sizes for record in records]
    assert max(sizes[0]) == max(sizes[1]) == 2
    assert set(sizes[2]) == {1}
    for record in records[:2]:
        names = [{1: "64x64", 2: "2x 64x64"}[size] for size in record.batch_sizes]
        assert record.batches == Counter(names)
    assert records[2].batches == {"64x64": 8}


def test_requests_above_the_capacity_wait(engine: Engine) -> None:
    client, recorder = engine
    for index in range(9):
        client.submit(a_request(index, "slow", steps=3))
    ended = [recorder.wait_end(f"job/1/{index}") for index in range(9)]
    assert all(isinstance(each, Rendered) for each in ended)
    held = most = 0
    for event in recorder.events:
        held += isinstance(event, Started) - isinstance(event, Rendered)
        most = max(most, held)
    assert most <= client.spec.capacity + 1  # An image is sent shortly after its request has left the batch.


def test_a_large_request_among_small_ones_finishes(engine: Engine) -> None:
    client, recorder = engine
    client.submit(a_request(0, size=256, steps=4))
    for index in range(1, 13):
        client.submit(a_request(index, steps=4))
    assert isinstance(recorder.wait_end("job/1/0"), Rendered)
    for index in range(1, 13):
        assert isinstance(recorder.wait_end(f"job/1/{index}"), Rendered)


def test_prompts_of_all_kinds(engine: Engine) -> None:
    prompts = ["", "一只在月球上的猫", "🐈" * 10, "x" * 4000, "a\nb\tc\x00d"]
    images = {render(engine, index, prompt=prompt, seed=1).pixels for index, prompt in enumerate(prompts)}
    assert len(images) == len(prompts), "each prompt gives another image"


def test_a_strength_that_leaves_no_step_is_refused(engine: Engine) -> None:
    client, recorder = engine
    client.submit(a_request(0, strength=0.0, has_init_image=True), random_png(64, 64))
    ended = recorder.wait_end("job/1/0")
    assert isinstance(ended, RequestFailed)
    assert ended.code == "invalid_input"
