"""Upscaling as a family: which device, and what happens when the GPU's memory does not suffice."""

import weakref
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import InvalidInput, RenderError
from core.render import RenderRequest, UpscalePart
from tests.unit.upscalers.test_enlargement import picture
from worker.pipelines.upscalers import enlargement
from worker.pipelines.upscalers.family import UpscaleFamily, UpscaleSample
from worker.pipelines.upscalers.tiles import Tile

FAST = "realesr-animevideov3"


def a_request(folder: Path, upscaler: str = FAST, scale: int = 2, number: int = 0) -> RenderRequest:
    part = UpscalePart(upscaler=upscaler, scale=scale, output=folder / f"{number}.png")
    return RenderRequest(id=f"job/1/{number}", prompt="", width=80, height=60, num_inference_steps=0, seed=0, upscale=part)


def encoded(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def finish(family: UpscaleFamily, sample: UpscaleSample) -> Image.Image:
    while sample.step < sample.steps:
        family.step([sample])
    assert family.decode(sample).shape == (sample.enlargement.height, sample.enlargement.width, 0)
    assert sample.request.upscale is not None
    return Image.open(sample.request.upscale.output)


def test_memory_that_runs_out_on_the_device_continues_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = UpscaleFamily("cpu", [])
    request, source = a_request(tmp_path), picture(40, 30)
    expected = finish(family, family.start(request, (), encoded(source))).tobytes()
    sample = family.start(request, (), encoded(source))
    sample.loaded.device = torch.device("meta")  # stands for a GPU; the network stays on the CPU
    compute, failures = enlargement.Enlargement.compute, [torch.OutOfMemoryError("CUDA out of memory")]
    activations: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def failing(self: enlargement.Enlargement, tile: Tile) -> torch.Tensor:
        if failures:
            activation = torch.ones(4)
            activations.append(weakref.ref(activation))
            raise failures.pop()
        return compute(self, tile)

    def free() -> None:
        alive.append(activations[0]() is not None)

    monkeypatch.setattr(enlargement.Enlargement, "compute", failing)
    monkeypatch.setattr("worker.pipelines.upscalers.family.free_cached_memory", free)
    family._networks.clear()
    assert finish(family, sample).tobytes() == expected
    assert sample.loaded.device.type == "cpu"
    assert alive == [False], "what the failed tile took is returned to the driver, for the model beside it"
    assert family.warnings_of(request) == ("The GPU ran out of memory beside the model: the image was enlarged on the CPU.",)


@pytest.mark.parametrize(("free", "is_small"), [(2 * 10**9, True), (4 * 10**9, False)])
def test_a_gpu_without_free_memory_is_left_to_the_model(free: int, is_small: bool) -> None:
    family = UpscaleFamily("cpu", [], measure_free=lambda device: free)
    family._device = torch.device("cuda", 0)
    family._warnings["job/1/0"] = []
    assert (family._choose_device("job/1/0").type == "cpu") is is_small
    assert bool(family._warnings["job/1/0"]) is is_small


def test_two_networks_are_kept(tmp_path: Path) -> None:
    family = UpscaleFamily("cpu", [])
    first = family._load(FAST, torch.device("cpu"))
    family._load("lanczos", torch.device("cpu"))
    assert family._load(FAST, torch.device("cpu")) is first
    family._load("realesrgan-x4plus-anime", torch.device("cpu"))
    assert len(family._networks) == 2


def test_upscalers_of_other_machines_are_for_other_workers(tmp_path: Path) -> None:
    family = UpscaleFamily("cpu", [tmp_path])
    with pytest.raises(RenderError, match="The upscaler mine is not on the worker's machine") as caught:
        family.start(a_request(tmp_path, "mine"), (), encoded(picture(8, 8)))
    assert caught.value.code == "upscaler_unavailable"


def test_renders_are_refused(tmp_path: Path) -> None:
    request = a_request(tmp_path).model_copy(update={"upscale": None})
    with pytest.raises(InvalidInput, match="only enlarges images"):
        UpscaleFamily("cpu", []).check(request, True)


def test_a_canceled_image_leaves_no_file(tmp_path: Path) -> None:
    family = UpscaleFamily("cpu", [])
    sample = family.start(a_request(tmp_path, "lanczos"), (), encoded(picture(8, 8)))
    family.close(sample)
    assert list(tmp_path.iterdir()) == []


def test_sixteen_bit_and_palette_images_keep_their_tones(tmp_path: Path) -> None:
    family = UpscaleFamily("cpu", [])
    grey = Image.fromarray((np.linspace(0, 1, 40 * 30).reshape(30, 40) * 65535).astype(np.uint16))
    palette = picture(40, 30).quantize(8)
    for number, image in enumerate((grey, palette)):
        sample = family.start(a_request(tmp_path, "lanczos", number=number), (), encoded(image))
        result = np.asarray(finish(family, sample).resize((40, 30)), int)
        tones = np.asarray(image.convert("RGB"), int) if image is palette else (np.asarray(grey, int) // 257)[..., None]
        assert np.abs(result - tones).mean() < 4
