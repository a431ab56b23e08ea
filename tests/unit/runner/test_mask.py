"""The worker scales a mask before it reaches the engine, and pastes the kept pixels back into the finished image."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageChops, ImageDraw

from core.errors import InvalidInput
from worker.init_image import open_init_image
from worker.mask import KeptPixels, open_mask, resize_mask


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def an_ellipse(width: int, height: int) -> bytes:
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse((width // 4, height // 4, width // 2, height // 2), fill="white")
    return encoded(mask)


IMAGE = encoded(Image.effect_noise((150, 90), 80).convert("RGB"))


@pytest.mark.parametrize("size", [(64, 64), (200, 90)])
def test_a_resized_mask_is_not_changed_again(size: tuple[int, int]) -> None:
    data = an_ellipse(*size)
    expected = open_mask(data, 64, 48)
    assert open_mask(resize_mask(data, 64, 48), 64, 48).tobytes() == expected.tobytes()
    assert set(expected.tobytes()) == {0, 255}


@pytest.mark.parametrize(("data", "words"), [(b"no image", "cannot be read"), (encoded(Image.new("L", (9, 9))), "nothing")])
def test_a_mask_that_cannot_be_used_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        resize_mask(data, 64, 64)


@pytest.mark.parametrize("feather", [0, 3])
def test_kept_pixels_are_pasted_unchanged(feather: int) -> None:
    mask, before = open_mask(an_ellipse(64, 64), 64, 64), open_init_image(IMAGE, 64, 64)
    new = Image.effect_noise((64, 64), 90).convert("RGB")
    kept = KeptPixels.of(IMAGE, an_ellipse(64, 64), 64, 64, feather)
    after = Image.frombytes("RGB", (64, 64), kept.paste_into(new.tobytes()))
    black = ImageChops.invert(kept.weights.point([255 if value else 0 for value in range(256)]))
    assert black.getbbox() is not None
    for area, source in ((black, before), (mask, new)):
        assert ImageChops.multiply(ImageChops.difference(after, source), area.convert("RGB")).getbbox() is None
    soft = set(kept.weights.tobytes()) - {0, 255}
    assert bool(soft) == bool(feather)
