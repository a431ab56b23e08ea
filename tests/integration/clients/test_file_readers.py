"""exifr finds the prompt, in any script, in the files that this farm writes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from core.imagefile import ImageMetadata, encode
from core.imagefile.encoding import EXTENSIONS, ImageFormat
from core.imagefile.parameters_text import format_parameters
from core.imagefile.png_file import with_metadata

HERE = Path(__file__).parent
PROMPTS = (
    "a red fox",
    "un café à Zürich",
    "雪地里的一只红狐狸",
    "ثعلب أحمر في الثلج",
    "🦊 in snow 👩‍🎨",
    "лиса, 'x' \"y\" \\ z",
)
FORMATS: tuple[ImageFormat, ...] = ("png", "jpeg")


def metadata(prompt: str) -> ImageMetadata:
    return ImageMetadata(
        prompt=prompt, negative_prompt=prompt, seed=7, num_inference_steps=8, width=16, height=8, model="demo"
    )


def test_exifr_reads_the_prompt_of_png_and_jpeg_in_any_script(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    image, files, expected = Image.new("RGB", (16, 8), "teal"), [], []
    for number, prompt in enumerate(PROMPTS):
        given = metadata(prompt)
        for format in FORMATS:
            files.append(tmp_path / f"{number}.{EXTENSIONS[format]}")
            files[-1].write_bytes(encode(image, given, format=format))
        image.save(plain := tmp_path / "plain.png")
        files.append(tmp_path / f"{number}-upscaled.png")
        files[-1].write_bytes(b"".join(with_metadata(plain, given)))
        expected += [format_parameters(given)] * 3
    command = [node, str(HERE / "programs" / "exifr_program.cjs"), str(HERE / "exifr" / "exifr.cjs.gz"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_png_holds_what_exifr_needs(prompt: str, tmp_path: Path) -> None:
    """The same where node is missing: ASCII in tEXt, else a UserComment in eXIf."""
    given = metadata(prompt)
    Image.new("RGB", (16, 8), "teal").save(plain := tmp_path / "plain.png")
    for data in (encode(Image.new("RGB", (16, 8)), given), b"".join(with_metadata(plain, given))):
        (file := tmp_path / "x.png").write_bytes(data)
        with Image.open(file) as image:
            comment = image.getexif().get_ifd(0x8769).get(0x9286)
        text = format_parameters(given)
        assert comment == (None if prompt.isascii() else b"UNICODE\0" + text.encode("utf-16-be"))
        assert (b"tEXtparameters\0" in data) == prompt.isascii()
