"""The commands about jobs, as scripts use them."""

from __future__ import annotations

import json
import uuid
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from benchmarks.faults.parts import FarmParts
from cli.exit_codes import ExitCode
from core.imagefile import open_rgb
from core.lifecycle import JobStatus
from imagefarm import ImageFarm
from tests.integration.farm.client import wait_until
from tests.integration.imagefarm.conftest import Cli, start_cli
from tests.servers.ports import free_port
from tests.unit.imagefile import pictures
from tests.unit.models.test_lora_facts import write_lora
from tests.unit.models.test_loras import Z_IMAGE

FAST = ("--size", "64", "--steps", "2")


def test_submit_waits_saves_and_prints_notices(cli: Cli, tmp_path: Path) -> None:
    done = cli("submit", "a cat", *FAST, "--seed", "7", "-n", "2", "--negative", "bad", "--save", "out")
    assert done.returncode == ExitCode.OK
    files = done.stdout.split()
    assert len(files) == 2 and all((tmp_path / name).is_file() for name in files)
    assert "images are noise" in done.stderr
    assert "negative_prompt has no effect" in done.stderr
    assert "seed 7, 8" in done.stderr


def test_submit_prints_the_job_and_its_files_as_json(cli: Cli, farm: ImageFarm) -> None:
    options = (*FAST, "--cfg", "2", "--priority", "7", "--deadline", "3600", "--save", "out", "--json")
    job = json.loads(cli("submit", "一只猫", *options).stdout)
    assert (job["status"], job["priority"], job["input"]["guidance_scale"]) == ("succeeded", 7, 2.0)
    assert len(job["files"]) == 1
    assert farm.get(job["id"]).deadline_at is not None
    shown = json.loads(cli("job", job["id"], "--json").stdout)
    assert shown["id"] == job["id"]
    assert [event["to_status"] for event in shown["history"]["events"]] == ["queued", "running", "succeeded"]
    printed = cli("job", job["id"]).stdout
    assert all(words in printed for words in ("一只猫", "succeeded", "1 of 3", "queued -> running"))


def test_submit_repaints_the_white_areas_of_a_mask(cli: Cli, tmp_path: Path) -> None:
    picture, mask, box = Image.effect_noise((64, 64), 90).convert("RGB"), Image.new("L", (64, 64)), (8, 16, 40, 48)
    mask.paste(255, box)
    picture.save(tmp_path / "picture.png")
    mask.save(tmp_path / "mask.webp", lossless=True)
    given = ("--init", "picture.png", "--mask", "mask.webp", "--steps", "2")
    job = json.loads(cli("submit", "a scarf", *given, "--save", "out", "--json").stdout)
    assert (job["status"], job["input"]["strength"], job["input"]["mask_feather"]) == ("succeeded", 1.0, 0)
    painted = Image.open(tmp_path / job["files"][0]).convert("RGB")
    assert ImageChops.difference(picture, painted).getbbox() == box
    refused = cli("submit", "a scarf", "--mask", "mask.webp")
    assert refused.returncode != ExitCode.OK
    assert "send init_image with it" in refused.stderr


def test_submit_without_wait_prints_only_the_id(cli: Cli, farm: ImageFarm) -> None:
    job_id = cli("submit", "a cat", *FAST).stdout.strip()
    assert farm.wait(job_id).status is JobStatus.SUCCEEDED
    assert job_id in {job["id"] for job in json.loads(cli("jobs", "--status", "succeeded", "--json").stdout)}
    assert job_id in cli("jobs", "--limit", "3").stdout


def test_cancel_and_retry_jobs(cli: Cli, farm: ImageFarm) -> None:
    job = farm.submit("long", width=64, height=64, num_inference_steps=100)
    canceled = cli("cancel", job.id, "nope")
    assert canceled.returncode == ExitCode.FAILED, "one of the two is unknown"
    assert job.id in canceled.stdout and "nope" in canceled.stderr
    assert farm.wait(job).status is JobStatus.CANCELED
    again = cli("retry", job.id).stdout.strip()
    assert farm.get(again).retried_from == job.id
    waited = cli("cancel", again, "--json")
    assert [row["id"] for row in json.loads(waited.stdout)] == [again]
    assert "submits it again as a new job" in cli("job", job.id).stdout


def test_submit_fails_when_its_job_is_canceled(running: FarmParts, farm: ImageFarm, tmp_path: Path) -> None:
    word = f"w{uuid.uuid4().hex}"
    waiting = start_cli("submit", word, "--size", "64", "--steps", "100", "--wait", url=running.url, cwd=tmp_path)
    assert waiting.stderr is not None
    while "running on" not in (line := waiting.stderr.readline()):
        assert line, "it ended before it was running"
    farm.cancel(next(farm.jobs(query=word)))
    _, err = waiting.communicate(timeout=300)
    assert waiting.returncode == ExitCode.FAILED
    assert "canceled" in err and "imagefarm retry" in err


def test_each_outcome_has_its_exit_code(cli: Cli) -> None:
    no_farm = f"http://127.0.0.1:{free_port()}"
    cases = {
        ExitCode.USAGE: ("submit", "a cat", "--size", "511", "--steps", "0"),
        ExitCode.FAILED: ("job", str(uuid.uuid4())),
        ExitCode.UNREACHABLE: ("jobs", "--url", no_farm),
        ExitCode.NOT_DONE: ("submit", "long", "--size", "64", "--steps", "100", "--timeout", "0.2"),
    }
    done = {code: cli(*words) for code, words in cases.items()}
    assert {code: result.returncode for code, result in done.items()} == {code: code.value for code in cases}
    assert "511 is not a multiple" in done[ExitCode.USAGE].stderr
    assert "num_inference_steps: 0 is out of range" in done[ExitCode.USAGE].stderr
    assert f"The farm at {no_farm} does not answer" in done[ExitCode.UNREACHABLE].stderr
    cli("cancel", done[ExitCode.NOT_DONE].stdout.strip() or done[ExitCode.NOT_DONE].stderr.split("Job ")[1].split()[0])


def test_export_saves_each_image_once(cli: Cli, farm: ImageFarm, tmp_path: Path) -> None:
    word = f"w{uuid.uuid4().hex}"
    for number in range(3):
        farm.wait(farm.submit(f"{word} {number}", width=64, height=64, num_inference_steps=1, num_images=2))

    def export(*words: str) -> dict[str, int]:
        result: dict[str, int] = json.loads(cli("export", "--to", "images", "--search", word, "--json", *words).stdout)
        return result

    assert export("--since", "2099-01-01")["saved"] == 0
    assert export("--by-day", "--since", "1h")["saved"] == 6
    files = sorted((tmp_path / "images").glob("*/outputs_*.png"))
    assert len(files) == 6
    files[0].unlink()
    assert (export()["saved"], export("--again")["saved"]) == (0, 1)


def test_export_writes_a_zip_or_a_batch(cli: Cli, farm: ImageFarm, tmp_path: Path) -> None:
    base = {"width": 64, "height": 64, "num_inference_steps": 1}
    batch = farm.batches.wait(farm.batch(["one", "two"], seeds=[1], base=base))
    done = json.loads(cli("export", "--zip", "grid.zip", "--batch", batch.id, "--metadata", "csv", "--json").stdout)
    assert done["bytes"] == (tmp_path / "grid.zip").stat().st_size
    with zipfile.ZipFile(tmp_path / "grid.zip") as archive:
        assert archive.namelist()[2:] == ["metadata.csv"] and len(archive.namelist()) == 3
    assert json.loads(cli("export", "--to", "grid", "--batch", batch.id, "--json").stdout)["saved"] == 2
    nothing = cli("export", "--zip", "none.zip", "--search", uuid.uuid4().hex)
    assert (nothing.returncode, nothing.stdout) == (ExitCode.FAILED, "") and "nothing to export" in nothing.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid", "grid.zip"], "no partial file is left"
    for words in ((), ("--to", "x", "--zip", "y.zip"), ("--to", "x", "--format", "webp"), ("--zip", "y.zip", "--again")):
        assert cli("export", *words).returncode == ExitCode.USAGE, words


def test_a_picture_is_read_and_rendered_again(cli: Cli, farm: ImageFarm, tmp_path: Path) -> None:
    job = farm.wait(farm.submit("a harbour, 港", width=64, height=64, num_inference_steps=2, seed=5, strict=True))
    (tmp_path / "a.png").write_bytes(farm.content(job.outputs[0]))
    found = json.loads(cli("parameters", "a.png", "--json").stdout)
    assert (found["source"], found["fields"]["prompt"], found["fields"]["seed"]) == ("imagefarm", "a harbour, 港", 5)
    assert "prompt: a harbour, 港" in cli("parameters", "a.png").stdout
    (tmp_path / "plain.png").write_bytes(pictures.png())
    assert cli("parameters", "plain.png").returncode == ExitCode.FAILED
    again = farm.wait(cli("rerun", job.outputs[0].id).stdout.strip())
    first, second = (open_rgb(farm.content(each.outputs[0])).tobytes() for each in (job, again))
    assert first == second
    assert again.metadata == {"rerun_of": job.outputs[0].id}


def test_watch_shows_workers_and_running_jobs(cli: Cli, farm: ImageFarm) -> None:
    wait_until(lambda: farm.queue().running == 0)  # What earlier tests have canceled has ended.
    job = farm.submit("long", width=64, height=64, num_inference_steps=100)
    next(iter(farm.events(job)))
    try:
        while farm.get(job).progress is None:
            continue
        shown = json.loads(cli("watch", "--once", "--json").stdout)
        assert [row["id"] for row in shown["running"]] == [job.id]
        assert shown["running"][0]["progress"]["steps"] == 100
        assert [row["running"] for row in shown["workers"] if row["model"] == "demo"] == [1]
        assert "worker0" in cli("watch", "--once").stdout
        (worker,) = (row for row in json.loads(cli("top", "--json").stdout)["workers"] if row["model"] == "demo")
        assert [row["id"] for row in worker["jobs"]] == [job.id]
        assert 0 < worker["jobs"][0]["progress"] <= 1
        assert worker["temperature_celsius"] is None, "there is no GPU here"
        shown_top = cli("top", "--once").stdout
        assert "worker0" in shown_top
        assert job.id[-8:] in shown_top
    finally:
        farm.cancel(job)


@pytest.mark.parametrize("words", [("submit", "x", "--priority", "11"), ("export", "--to", "x", "--since", "whenever")])
def test_wrong_values_are_named_in_the_error(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli(*words)
    assert done.returncode == ExitCode.USAGE
    assert words[-2].strip("-") in done.stderr


def test_loras_are_listed_and_named_on_submit(cli: Cli, running: FarmParts, farm: ImageFarm) -> None:
    folder = running.directory / "data" / "models" / "loras"
    write_lora(folder / "v1.5 gold.safetensors", Z_IMAGE, {"modelspec.trigger_phrase": "goldleaf"})
    (folder / "broken.safetensors").write_bytes(b"")
    try:
        listed = cli("loras", "list")
        assert listed.returncode == ExitCode.OK
        assert all(words in listed.stdout for words in ("v1.5 gold", "goldleaf", "broken.safetensors: is empty"))
        as_json = json.loads(cli("loras", "list", "--model", "demo", "--json").stdout)
        assert [lora["name"] for lora in as_json["items"]] == ["v1.5 gold"]
        job = json.loads(cli("submit", "a cat", *FAST, "--lora", "v1.5 gold:0.5", "--wait", "--json").stdout)
        assert job["input"]["loras"] == [{"name": "v1.5 gold", "scale": 0.5}]
        refused = cli("submit", "a cat", "--lora", "nothing")
        assert refused.returncode == ExitCode.USAGE
        assert "Available for demo: v1.5 gold" in refused.stderr
    finally:
        for file in folder.iterdir():
            file.unlink()
