"""The worker resizes an init image before it reaches the engine, bit-identical to what the engine would do."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from core.errors import InvalidInput, RenderError
from core.ids import new_id
from core.retries import rule_for
from core.storage import LocalImageStore, image_key
from db.tables import Job
from worker.init_image import open_init_image, resize_init_image
from worker.runner.rendering import StartImageReader


def encoded(width: int, height: int, format: str, mode: str = "RGB") -> bytes:
    """Return an encoded image of gradients."""
    buffer = io.BytesIO()
    Image.merge("RGB", [Image.linear_gradient("L").rotate(90 * turn) for turn in range(3)]).resize((width, height)).convert(
        mode
    ).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("JPEG", "RGB"), ("WEBP", "RGB")]
)
@pytest.mark.parametrize("size", [(64, 64), (200, 90)])
def test_a_resized_image_is_not_changed_again(format: str, mode: str, size: tuple[int, int]) -> None:
    data = encoded(*size, format, mode)
    expected = open_init_image(data, 64, 64)
    again = open_init_image(resize_init_image(data, 64, 64), 64, 64)
    assert again.size == (64, 64)
    assert again.tobytes() == expected.tobytes()


@pytest.mark.parametrize("data", [b"", b"no image", encoded(64, 64, "PNG")[:80]])
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        resize_init_image(data, 64, 64)


def test_a_parent_that_was_deleted_fails_the_job_for_good(tmp_path: Path) -> None:
    uploads, images = (LocalImageStore(tmp_path / name) for name in ("uploads", "images"))
    job_id = new_id()
    key = images.put(image_key(job_id, 1, 0), b"the image").key
    job = Job(id=job_id, input={"init_image": {"image_id": "i", "key": key}})
    reader = StartImageReader(uploads, images)
    assert reader.read_for(job).init_image == b"the image"
    images.delete(key)
    with pytest.raises(RenderError, match="was deleted before it was rendered") as failed:
        reader.read_for(job)
    assert (failed.value.code, rule_for(failed.value.code).retry) == ("parent_gone", False)
    images.root.rename(tmp_path / "elsewhere")
    with pytest.raises(RenderError, match="store of images") as away:
        reader.read_for(job)
    assert away.value.code == "storage_unavailable"
