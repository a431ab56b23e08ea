"""A network enlarges the start image inside the engine: exact, with progress over tiles and steps, beside other images."""

from __future__ import annotations

import io
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from core.catalogue.upscalers import list_upscalers
from core.errors import InvalidInput, RenderError
from core.render import RenderRequest
from tests.integration.engine.recorder import Recorder, a_request
from tests.integration.engine.tiny_models import TinyModel, random_png, tiny_model
from worker.engine.client import EngineClient
from worker.engine.messages import Rendered, Step
from worker.pipelines.enlarge_first import EnlargeFirst, EnlargingSample
from worker.pipelines.upscalers.enlargement import Enlargement, LoadedUpscaler
from worker.pipelines.upscalers.network import Tiling
from worker.pipelines.upscalers.tiles import Tile

NETWORK = "realesr-animevideov3"


def a_refinement(index: int, size: int = 128, **changes: object) -> RenderRequest:
    fields: dict[str, object] = {"has_init_image": True, "strength": 0.7, "upscaler": NETWORK}
    return a_request(index, "a cat", size, 4, **(fields | changes))


def enlarged(data: bytes, scale: int, size: int) -> bytes:
    """Return what the network makes of an image, at that size in pixels."""
    source = Image.open(io.BytesIO(data)).convert("RGB")
    loaded = LoadedUpscaler(list_upscalers([]).get(NETWORK), torch.device("cpu"))
    enlargement = Enlargement(loaded, source, scale)
    result = Image.new("RGB", (enlargement.width, enlargement.height))
    for tile in enlargement.tiles:
        result.paste(Image.fromarray(enlargement.compute(tile).numpy()), enlargement.box_of(tile)[:2])
    buffer = io.BytesIO()
    result.resize((size, size), Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()


def around(made: TinyModel) -> EnlargeFirst:
    return EnlargeFirst(made.family, torch.device("cpu"), [])


def run(family: EnlargeFirst, *samples: Any) -> None:  # noqa: ANN401 -- samples of any family
    while running := [sample for sample in samples if sample.step < sample.steps]:
        first = running[0]
        family.step([sample for sample in running if sample.group == first.group])


@pytest.mark.parametrize("model_id", ["demo", "tiny-sd"])
@pytest.mark.parametrize(("size", "scale"), [(128, 2), (160, 3), (320, 4)])
def test_it_renders_over_what_the_network_makes(models_dir: Path, model_id: str, size: int, scale: int) -> None:
    torch.set_num_threads(1)
    made, image = tiny_model(model_id, models_dir), random_png(64, 64)
    family, request = around(made), a_refinement(3, size)
    family.check(request, True)
    sample = family.start(request, family.encode(request), image)
    run(family, sample)
    plain = request.model_copy(update={"upscaler": None})
    expected = made.alone(plain, enlarged(image, scale, size))
    assert torch.equal(family.decode(sample), made.family.decode(expected))
    assert not torch.equal(family.decode(sample), made.family.decode(made.alone(plain, image))), (
        "Lanczos gives another image"
    )
    assert (sample.steps, sample.notes["upscaler"]) == (expected.steps + 1, NETWORK)


def test_other_images_step_while_tiles_are_computed(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    made, image = tiny_model("demo", models_dir), random_png(96, 96)
    family, request, other = around(made), a_refinement(3, 192, strength=1.0), a_request(4, "a cat", 192, 4)
    whole = family.start(request, family.encode(request), image)
    run(family, whole)
    monkeypatch.setattr("worker.pipelines.upscalers.enlargement.tiling_of", lambda network: Tiling(32, 24))
    monkeypatch.setattr(family, "_loaded", None)
    tiled = family.start(request, family.encode(request), image)
    beside = family.start(other, family.encode(other), b"")
    assert isinstance(tiled, EnlargingSample)
    assert tiled.tiles == 9
    assert tiled.group != beside.group
    seen = []
    while tiled.inner is None:
        family.step([tiled])
        seen.append((tiled.step, tiled.steps))
    assert seen == [(done, 9 + 4) for done in range(1, 10)]
    assert tiled.group == beside.group, "from now on they share passes"
    run(family, tiled, beside)
    alone = made.family.decode(made.alone(other))
    assert int((family.decode(beside).int() - alone.int()).abs().max()) <= 1, "shared passes differ in the last bits"
    difference = (family.decode(tiled).int() - family.decode(whole).int()).abs().float().mean()
    assert float(difference) < 3, "the halo hides the tiles"


def test_a_tile_that_does_not_fit_frees_its_memory_before_the_cpu_takes_over(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    made, image = tiny_model("demo", models_dir), random_png(64, 64)
    family, request = around(made), a_refinement(3, strength=1.0)
    expected = family.start(request, family.encode(request), image)
    run(family, expected)
    sample = family.start(request, family.encode(request), image)
    assert isinstance(sample, EnlargingSample)
    sample.loaded.device = torch.device("meta")  # Stands for a GPU; the network stays on the CPU.
    monkeypatch.setattr(family, "_loaded", None)
    activations: list[weakref.ref[torch.Tensor]] = []
    compute, alive = Enlargement.compute, list[bool]()

    def failing(self: Enlargement, tile: Tile) -> torch.Tensor:
        if not activations:
            activation = torch.ones(4)
            activations.append(weakref.ref(activation))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(self, tile)

    monkeypatch.setattr(Enlargement, "compute", failing)
    free = "worker.pipelines.enlarge_first.free_cached_memory"
    monkeypatch.setattr(free, lambda: alive.append(activations[0]() is not None))
    run(family, sample)
    assert alive == [False]
    assert torch.equal(family.decode(sample), family.decode(expected))


def test_weights_that_a_worker_lacks_are_for_another_one(models_dir: Path) -> None:
    family = around(tiny_model("demo", models_dir))
    with pytest.raises(RenderError, match="Known upscalers") as failed:
        family.check(a_refinement(1, upscaler="no-such-network"), True)
    assert failed.value.code == "upscaler_unavailable"
    with pytest.raises(InvalidInput, match="send one with it"):
        family.check(a_request(1, upscaler=NETWORK), False)


def test_progress_covers_tiles_and_steps_in_the_engine_process(
    engine: tuple[EngineClient, Recorder], models_dir: Path
) -> None:
    client, recorder = engine
    assert client.info is not None
    assert NETWORK in client.info.upscalers
    request, image = a_refinement(7, strength=1.0), random_png(64, 64)
    client.submit(request, image)
    rendered = recorder.wait_end(request.id)
    assert isinstance(rendered, Rendered)
    expected = tiny_model("demo", models_dir).alone(request.model_copy(update={"upscaler": None}), enlarged(image, 2, 128))
    assert rendered.pixels == tiny_model("demo", models_dir).family.decode(expected).numpy().tobytes()
    steps = [event for event in recorder.events if isinstance(event, Step) and event.request_id == request.id]
    assert (steps[-1].step, steps[-1].steps) == (5, 5)
    assert rendered.record.versions["upscaler"] == NETWORK
