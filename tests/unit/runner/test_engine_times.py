"""Times of an engine's load and images, as its worker reports them."""

from __future__ import annotations

from dataclasses import replace

from core.render import RenderRecord, RenderTimings
from worker.engine.messages import EngineInfo, Rendered
from worker.runner.worker_state import MAX_KINDS, RECENT_IMAGES, EngineTimes

INFO = EngineInfo("demo", "z-image", "cpu", "a cpu", "float32", "cpu", 4, 640, "native", 1.5, 77)


def image(seconds: float, side: int = 64, steps: int = 4) -> Rendered:
    record = RenderRecord(
        family="z-image",
        device="cpu",
        dtype="float32",
        memory_policy="cpu",
        attention_backend="native",
        versions={},
        batch_sizes=[1] * steps,
        pipeline_guidance_scale=0.0,
    )
    timings = RenderTimings(waited_seconds=50, encode_seconds=7, steps_seconds=seconds - 0.25, decode_seconds=0.25)
    return Rendered("job/1/0", side, side, b"", record, timings)


def test_image_times_are_missing_before_the_first_image() -> None:
    info = EngineTimes(INFO).info()
    assert info["load_seconds"] == 1.5
    assert not {"process_id", "first_image", "later_images"} & info.keys()


def test_what_was_expected_is_reported_until_an_image_was_seen() -> None:
    times = EngineTimes(replace(INFO, expected={"seconds_per_image": 9.0}))
    assert times.info()["expected"] == {"seconds_per_image": 9.0}
    times.record_image(image(5.0))
    assert "expected" not in times.info() and times.info()["first_image"]["seconds"] == 5.0


def test_the_first_image_is_reported_separately() -> None:
    times = EngineTimes(INFO)
    for seconds in (9.0, 1.0, 3.0, 2.0):
        times.record_image(image(seconds))
    info = times.info()
    assert info["first_image"] == {"seconds": 9.0, "width": 64, "height": 64, "num_inference_steps": 4}
    later = info["later_images"]
    assert (later["count"], later["median_seconds"]) == (3, 2.0)
    assert later["by_size"] == [{"width": 64, "height": 64, "num_inference_steps": 4, "count": 3, "mean_seconds": 2.0}]


def test_the_numbers_of_kinds_and_of_images_kept_are_limited() -> None:
    times = EngineTimes(INFO)
    times.record_image(image(5.0))
    for _ in range(RECENT_IMAGES):
        times.record_image(image(100.0))
    for side in range(1, MAX_KINDS + RECENT_IMAGES):
        times.record_image(image(1.0, side))
    later = times.info()["later_images"]
    assert later["median_seconds"] == 1.0
    assert [row["width"] for row in later["by_size"]] == list(range(RECENT_IMAGES, MAX_KINDS + RECENT_IMAGES))
