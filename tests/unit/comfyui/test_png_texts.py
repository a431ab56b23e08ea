"""The texts in a PNG that ComfyUI opens its graph from, and masks from transparency."""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image

from core.comfyui.png_texts import FIELD, MAX_BYTES, embedded, texts_of
from core.imagefile import ImageMetadata, encode_png, read_metadata
from core.imagefile.masks import mask_of_transparency
from core.imagefile.png_file import with_metadata

METADATA = ImageMetadata(prompt="a cat", seed=1, num_inference_steps=2, width=4, height=2, model="demo")


def test_both_ways_of_writing_a_png_carry_the_texts(tmp_path: Path) -> None:
    texts, warnings = embedded({"3": {"text": "雪"}}, {"extra_pnginfo": {"workflow": {"nodes": []}}})
    assert (warnings, texts_of({FIELD: texts}), texts_of({})) == ([], texts, {})
    plain = tmp_path / "plain.png"
    Image.new("RGB", (4, 2)).save(plain)
    for data in (encode_png(bytes(24), 4, 2, METADATA, texts), b"".join(with_metadata(plain, METADATA, texts))):
        found = Image.open(io.BytesIO(data))
        assert json.loads(found.text["prompt"]) == {"3": {"text": "雪"}}  # type: ignore[attr-defined]
        assert json.loads(found.text["workflow"]) == {"nodes": []}  # type: ignore[attr-defined]
        known = read_metadata(data).imagefarm
        assert known is not None
        assert known.prompt == "a cat"


def test_texts_that_pillow_would_refuse_are_left_out_and_named() -> None:
    texts, warnings = embedded({}, {"extra_pnginfo": {"workflow": "x" * MAX_BYTES}})
    assert (list(texts), len(warnings)) == (["prompt"], 1)
    assert "workflow" in warnings[0]
    assert list(embedded({}, {"extra_pnginfo": [1]})[0]) == ["prompt"]


def test_the_mask_is_white_where_the_image_is_transparent() -> None:
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (8, 8, 16, 16))
    file = io.BytesIO()
    image.save(file, "PNG")
    data, share = mask_of_transparency(file.getvalue())
    mask = Image.open(io.BytesIO(data))
    assert (mask.getbbox(), share) == ((8, 8, 16, 16), 64 / 1024)
    grown = Image.open(io.BytesIO(mask_of_transparency(file.getvalue(), 6)[0]))
    assert grown.getbbox() == (5, 5, 19, 19)
    opaque = io.BytesIO()
    image.convert("RGB").save(opaque, "PNG")
    assert mask_of_transparency(opaque.getvalue(), 6)[1] == 0
