"""Black images fail, and a safety hook's verdict is carried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from core.errors import InvalidInput, RenderError
from core.render import RenderRecord, RenderRequest, RenderTimings
from core.settings import Settings
from db.tables import Job
from worker.engine.messages import Rendered
from worker.models.doctor import check_safety_hook
from worker.runner.attempts import RunningAttempt
from worker.runner.image_guard import ImageGuard, is_black
from worker.safety_hook import SafetyHook, load_safety_hook

ATTEMPT = RunningAttempt(Job(id="job", attempt=1, model="demo", owner="me", input={}))
REQUEST = RenderRequest(id="job/1/0", prompt="a cat", width=64, height=64, num_inference_steps=1, seed=7)
RECORD = RenderRecord(
    family="synthetic",
    device="cpu",
    dtype="uint8",
    memory_policy="none",
    attention_backend="none",
    versions={},
    batch_sizes=[1],
    pipeline_guidance_scale=0.0,
)


def rendered(image: Image.Image) -> Rendered:
    return Rendered("job/1/0", *image.size, image.tobytes(), RECORD, RenderTimings())


def half_white() -> Image.Image:
    image = Image.new("RGB", (64, 64), "black")
    image.paste("white", (32, 0, 64, 64))
    return image


def judged_by(function: Callable[[Image.Image, dict[str, Any]], object]) -> Rendered:
    guard = ImageGuard(SafetyHook("planted", function))
    return guard.check(ATTEMPT, REQUEST, rendered(half_white()))


@pytest.mark.parametrize(
    ("color", "black"), [((0, 0, 0), True), ((3, 2, 4), True), ((5, 0, 0), False), ((128, 128, 128), False)]
)
def test_only_plain_colours_near_black_are_black(color: tuple[int, int, int], black: bool) -> None:
    assert is_black(Image.new("RGB", (16, 16), color)) is black


def test_one_level_of_noise_is_black_and_a_faint_picture_is_not() -> None:
    image = Image.new("RGB", (16, 16), (1, 1, 1))
    image.putpixel((3, 3), (2, 1, 0))
    assert is_black(image)
    image.putpixel((4, 4), (4, 1, 1))
    assert not is_black(image)


def test_a_black_picture_fails_unless_it_starts_from_a_black_one() -> None:
    black = rendered(Image.new("RGB", (64, 64), "black"))
    with pytest.raises(RenderError) as caught:
        ImageGuard().check(ATTEMPT, REQUEST, black)
    assert caught.value.code == "black_image"
    assert ImageGuard().check(ATTEMPT, REQUEST, black, may_be_black=True) is black


def test_the_hook_sees_the_picture_and_its_fields() -> None:
    seen: list[tuple[Image.Image, dict[str, Any]]] = []

    def note(image: Image.Image, fields: dict[str, Any]) -> str:
        seen.append((image, fields))
        return "ok"

    judged_by(note)
    image, fields = seen[0]
    assert image.size == (64, 64) and image.getpixel((40, 3)) == (255, 255, 255)
    assert (fields["prompt"], fields["owner"], fields["seed"], fields["index"]) == ("a cat", "me", 7, 0)


def test_tags_are_recorded_and_the_pixels_stay() -> None:
    kept = judged_by(lambda *_: ("tag", ["cat", "indoor"]))
    assert kept.record.safety is not None
    assert (kept.record.safety.action, kept.record.safety.labels) == ("tag", ["cat", "indoor"])
    assert kept.pixels == half_white().tobytes()


def test_a_blurred_picture_replaces_the_sharp_one_and_says_so() -> None:
    kept = judged_by(lambda *_: ("blur", ["cat"]))
    sharp, blurred = (
        Image.frombytes("RGB", (64, 64), pixels).convert("L") for pixels in (half_white().tobytes(), kept.pixels)
    )
    assert set(sharp.tobytes()) == {0, 255} and len(set(blurred.tobytes())) > 10, "the edge is soft"
    assert kept.record.safety is not None and kept.record.safety.action == "blur"
    assert "blurred image 0: cat" in kept.record.warnings[0]


def test_a_rejected_picture_fails_with_its_labels() -> None:
    with pytest.raises(RenderError, match="rejected the image \\(cat\\)") as caught:
        judged_by(lambda *_: ("reject", ["cat"]))
    assert caught.value.code == "safety_rejected"


@pytest.mark.parametrize("answer", [None, "fine", ("tag", "cat"), ("tag", [1]), ("tag", ["x" * 101]), ("tag", ["x"] * 21)])
def test_an_answer_that_is_none_of_these_lets_nothing_pass(answer: object) -> None:
    with pytest.raises(RenderError) as caught:
        judged_by(lambda *_: answer)
    assert caught.value.code == "safety_hook_failed"


def test_a_hook_that_raises_lets_nothing_pass_and_its_text_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def broken(image: Image.Image, fields: dict[str, Any]) -> str:
        raise OSError("/secret/path")

    with pytest.raises(RenderError) as caught:
        judged_by(broken)
    assert caught.value.code == "safety_hook_failed"
    assert "OSError" in caught.value.message and "secret" not in caught.value.message
    assert "/secret/path" in caplog.text


@pytest.mark.parametrize("name", ["no_such_module:judge", "json:no_such_function", "json:__name__"])
def test_a_hook_that_cannot_be_used_is_named(name: str) -> None:
    with pytest.raises(InvalidInput, match=name) as caught:
        load_safety_hook(name)
    assert caught.value.code == "safety_hook_unusable"
    check = check_safety_hook(Settings(safety_hook=name))
    assert check.status == "problem" and name in check.detail


def test_without_a_setting_there_is_no_hook() -> None:
    assert load_safety_hook("") is None
    assert check_safety_hook(Settings()).status == "ok"
