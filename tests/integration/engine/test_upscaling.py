"""An engine that enlarges images: equal to the same tiles in this process, in bounded memory, canceled between tiles."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.catalogue.upscalers import list_upscalers
from core.queue import UPSCALE
from core.render import RenderRequest, UpscalePart
from tests.integration.engine.conftest import new_client
from tests.integration.engine.recorder import Recorder
from worker.engine.client import EngineClient
from worker.engine.messages import Canceled, Rendered, RequestFailed, Step
from worker.pipelines.upscalers.enlargement import Enlargement, LoadedUpscaler

FAST = "realesr-animevideov3"
Engine = tuple[EngineClient, Recorder]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        client, recorder = new_client(
            tmp_path_factory.mktemp("none"), model=UPSCALE, module="worker.engine", step_timeout_seconds=300.0
        )
        client.start()
    recorder.wait_ready()
    yield client, recorder
    client.stop(5)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, len(mode))
    return Image.fromarray(np.random.default_rng(1).integers(0, 255, shape, np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def submit(engine: Engine, number: int, image: Image.Image, output: Path, upscaler: str, scale: int) -> RenderRequest:
    request = RenderRequest(
        id=f"job/1/{number}",
        prompt="",
        width=image.width * scale,
        height=image.height * scale,
        num_inference_steps=0,
        seed=0,
        has_init_image=True,
        upscale=UpscalePart(upscaler=upscaler, scale=scale, output=output),
    )
    engine[0].submit(request, png(image))
    return request


def enlarge(engine: Engine, number: int, image: Image.Image, output: Path, upscaler: str, scale: int) -> Rendered:
    request = submit(engine, number, image, output, upscaler, scale)
    ended = engine[1].wait_end(request.id)
    assert isinstance(ended, Rendered), ended
    return ended


def peak_bytes(engine: Engine) -> int:
    process = engine[0]._process
    assert process is not None
    status = Path(f"/proc/{process.process_id}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def test_it_is_ready_before_it_has_imported_torch(engine: Engine) -> None:
    info = engine[1].wait_ready().info
    assert set(info.upscalers) >= {FAST, "lanczos", "realesrgan-x4plus"}
    assert peak_bytes(engine) < 150e6


@pytest.mark.parametrize(("upscaler", "scale", "mode"), [(FAST, 4, "RGBA"), (FAST, 3, "RGB"), ("lanczos", 2, "RGB")])
def test_the_result_equals_the_tiles_in_this_process(
    engine: Engine, upscaler: str, scale: int, mode: str, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    image = noise(520, 30, mode)
    rendered = enlarge(engine, scale, image, tmp_path / "x.png", upscaler, scale)
    loaded = LoadedUpscaler(list_upscalers([]).get(upscaler), torch.device("cpu"))
    enlargement = Enlargement(loaded, image, scale)
    expected = np.zeros((30 * scale, 520 * scale, len(mode)), np.uint8)
    for tile in enlargement.tiles:
        left, top, right, bottom = enlargement.box_of(tile)
        expected[top:bottom, left:right] = enlargement.compute(tile).numpy()
    assert (np.asarray(Image.open(tmp_path / "x.png")) == expected).all()
    assert (rendered.width, rendered.height, rendered.pixels) == (520 * scale, 30 * scale, b"")
    assert len(enlargement.tiles) == 2
    steps = [event.step for event in engine[1].events if isinstance(event, Step) and event.request_id == f"job/1/{scale}"]
    assert steps[-1] == 2
    record = rendered.record
    assert record.versions["upscaler"] == upscaler
    assert (record.versions["tile"], record.versions["halo"]) == (str(loaded.tiling.inner), str(loaded.tiling.halo))
    assert record.device.startswith("CPU")
    assert record.dtype == str(loaded.dtype).removeprefix("torch.")
    with Image.open(tmp_path / "x.webp") as reduced:
        assert max(reduced.size) <= 1024


def test_memory_does_not_grow_with_the_result(engine: Engine, tmp_path: Path) -> None:
    enlarge(engine, 10, noise(1024, 64), tmp_path / "small.png", "lanczos", 4)
    before = peak_bytes(engine)
    flat = Image.linear_gradient("L").resize((1024, 3072)).convert("RGB")
    enlarge(engine, 11, flat, tmp_path / "large.png", "lanczos", 4)
    result_bytes = 4096 * 12288 * 3
    assert peak_bytes(engine) - before < 0.6 * result_bytes


def test_a_request_is_canceled_between_tiles(engine: Engine, tmp_path: Path) -> None:
    request = submit(engine, 20, noise(4000, 40), tmp_path / "x.png", FAST, 4)
    engine[1].wait(Step, matches=lambda step: step.request_id == request.id)
    engine[0].cancel(request.id)
    assert isinstance(engine[1].wait_end(request.id), Canceled)
    assert not (tmp_path / "x.png").exists()


def test_a_scale_that_weights_do_not_reach_is_refused(engine: Engine, tmp_path: Path) -> None:
    request = submit(engine, 30, noise(8, 8), tmp_path / "x.png", "lanczos", 5)
    ended = engine[1].wait_end(request.id)
    assert isinstance(ended, RequestFailed)
    assert ended.code == "invalid_input"
