"""PNG files written band by band: equal to the pixels, about as small as Pillow's, with metadata and a reduced copy."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.imagefile import ImageMetadata, read_metadata
from core.imagefile.png_file import with_metadata
from tests.unit.upscalers.test_enlargement import picture
from worker.pipelines.upscalers import png_rows
from worker.pipelines.upscalers.png_rows import PngRows, ReducedRows


def written(image: Image.Image, file: Path, band: int) -> bytes:
    pixels = np.asarray(image)
    rows = PngRows(file, image.width, image.height, len(image.mode))
    for start in range(0, image.height, band):
        rows.write(pixels[start : start + band])
    assert rows.is_complete
    return file.read_bytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("band", [1, 13, 200])
def test_a_file_in_bands_holds_the_pixels(mode: str, band: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_rows, "_STRIP_BYTES", 1500)
    image = picture(61, 40).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    found = Image.open(BytesIO(written(image, tmp_path / "x.png", band)))
    assert found.mode == mode
    assert found.tobytes() == image.tobytes()


def test_a_file_in_bands_is_about_as_small_as_pillows(tmp_path: Path) -> None:
    image = picture(300, 300).resize((1200, 1200), Image.Resampling.BICUBIC)
    expected = BytesIO()
    image.save(expected, "PNG", compress_level=1, compress_type=3)
    assert len(written(image, tmp_path / "x.png", 256)) < 1.1 * len(expected.getvalue())


def test_an_unfinished_file_is_discarded(tmp_path: Path) -> None:
    rows = PngRows(tmp_path / "spool" / "x.png", 8, 8, 3)
    rows.write(np.zeros((4, 8, 3), np.uint8))
    assert not rows.is_complete
    rows.discard()
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("prompt", ["a cat", "一只猫", 'quotes "and" \\ é'])
def test_metadata_is_inserted_into_a_file(prompt: str, tmp_path: Path) -> None:
    image = picture(20, 10)
    written(image, tmp_path / "x.png", 10)
    fields = {"seed": 7, "num_inference_steps": 8, "width": 20, "height": 10, "model": "demo"}
    metadata = ImageMetadata(prompt=prompt, parent="p", upscaler="lanczos", upscale=2, **fields)
    data = b"".join(with_metadata(tmp_path / "x.png", metadata))
    found = read_metadata(data)
    assert found.imagefarm == metadata
    assert found.ai_generated
    assert found.parameters is not None
    assert (found.parameters.prompt, found.parameters.seed) == (prompt, 7)
    assert found.parameters.settings["Postprocess upscaler"] == "lanczos"
    assert Image.open(BytesIO(data)).convert("RGB").tobytes() == image.tobytes()
    assert Image.open(BytesIO(data)).info["imagefarm"], "readers that do not decode find the texts, too"


def test_a_picture_from_elsewhere_gets_no_settings_and_is_not_called_ai_made(tmp_path: Path) -> None:
    written(picture(20, 10), tmp_path / "x.png", 10)
    metadata = ImageMetadata(
        prompt="", seed=0, num_inference_steps=0, width=20, height=10, model="", upscaler="lanczos", upscale=2
    )
    found = read_metadata(b"".join(with_metadata(tmp_path / "x.png", metadata)))
    assert (
        found.parameters_text
        == "\nSize: 20x10, Postprocess upscale by: 2, Postprocess upscaler: lanczos, Version: imagefarm"
    )
    assert not found.ai_generated


@pytest.mark.parametrize(("size", "max_side", "expected"), [((100, 70), 50, (50, 35)), ((100, 71), 30, (25, 18))])
def test_a_reduced_copy_equals_that_of_the_whole(size: tuple[int, int], max_side: int, expected: tuple[int, int]) -> None:
    image = picture(*size)
    pixels = np.asarray(image)
    reduced = ReducedRows(*size, max_side)
    for start in range(0, image.height, 9):
        reduced.add(pixels[start : start + 9])
    found = reduced.image()
    assert found.size == expected
    assert found.tobytes() == image.reduce(-(-max(size) // max_side)).tobytes()
