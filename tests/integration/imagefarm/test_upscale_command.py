"""`imagefarm upscale` and the client's calls about upscaling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from cli.exit_codes import ExitCode
from core.errors import InvalidInput
from core.lifecycle import JobKind, JobStatus
from imagefarm import ImageFarm
from tests.integration.imagefarm.conftest import Cli

RESAMPLE = ("--upscaler", "lanczos")


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((30, 20)).convert("RGB").save(path)
    return path


def test_a_file_is_enlarged_and_saved(cli: Cli, tmp_path: Path, file: Path) -> None:
    done = cli("upscale", "photo.png", "--scale", "3", *RESAMPLE, "--save", "out")
    assert done.returncode == ExitCode.OK, done.stderr
    (name,) = done.stdout.split()
    assert size_of(tmp_path / name) == (90, 60)
    assert "succeeded" in done.stderr


def test_images_of_the_farm_and_files_are_one_batch(cli: Cli, farm: ImageFarm, tmp_path: Path, file: Path) -> None:
    render = farm.wait(farm.submit("a cat", width=64, height=64, num_inference_steps=2))
    done = cli("upscale", render.outputs[0].id, "photo.png", "--scale", "2", *RESAMPLE, "--save", "out", "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    jobs = json.loads(done.stdout)
    assert [job["kind"] for job in jobs] == ["upscale", "upscale"]
    assert jobs[0]["batch_id"] == jobs[1]["batch_id"] is not None
    sizes = sorted(size_of(path) for path in (tmp_path / "out").glob("*.png"))
    assert sizes == [(60, 40), (128, 128)]
    listed = json.loads(cli("jobs", "--kind", "upscale", "--json").stdout)
    assert {job["id"] for job in jobs} <= {job["id"] for job in listed}


def test_jobs_are_left_to_the_farm(cli: Cli, farm: ImageFarm, file: Path) -> None:
    done = cli("upscale", "photo.png", *RESAMPLE, "--no-wait")
    job = farm.wait(done.stdout.strip())
    assert (job.kind, job.status) == (JobKind.UPSCALE, JobStatus.SUCCEEDED)
    assert job.id in {each.id for each in farm.jobs(kind=JobKind.UPSCALE)}


def test_upscalers_are_listed(cli: Cli, farm: ImageFarm) -> None:
    assert "realesrgan-x4plus " in cli("upscale", "--list").stdout
    rows = json.loads(cli("upscale", "--list", "--json").stdout)["items"]
    assert rows[0]["default"] and rows[0]["workers"] == ["upscaler0"]
    assert [row.id for row in farm.upscales.upscalers().items] == [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["upscale"], "Name a file or an image's id"),
        (["upscale", "missing.png"], "'missing.png' is neither a file nor the id of an image."),
        (["upscale", "photo.png", "--upscaler", "x"], "There is no upscaler called 'x'."),
        (["upscale", "photo.png", "--scale", "7"], "7 is not a factor of realesrgan-x4plus"),
        (["upscale", "0199c0de-0000-7000-8000-000000000001"], "There is no image with this id"),
    ],
)
def test_mistakes_are_explained(cli: Cli, file: Path, words: list[str], sentence: str) -> None:
    done = cli(*words)
    assert done.returncode not in (ExitCode.OK, ExitCode.UNREACHABLE)
    assert sentence in " ".join(done.stderr.split())


def test_the_client_enlarges_files_and_images(farm: ImageFarm, file: Path) -> None:
    job = farm.wait(farm.upscale(file, scale=2, upscaler="lanczos", metadata={"a": "b"}))
    assert (job.outputs[0].width, job.metadata) == (60, {"a": "b"})
    again = farm.wait(farm.upscale(job.outputs[0], scale=2, upscaler="lanczos"))
    assert again.parent is not None
    assert (again.parent.image, again.outputs[0].width) == (job.outputs[0].id, 120)
    with pytest.raises(InvalidInput, match="fields are"):
        farm.upscale(file, colour="red")
