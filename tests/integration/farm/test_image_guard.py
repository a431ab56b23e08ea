"""Black images and the safety hook through a farm."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.faults.parts import FarmParts
from cli.exit_codes import ExitCode
from tests.conftest import Migrate
from tests.integration.farm.client import Client, wait_until
from tests.integration.farm.conftest import StartFarm, sqlite_farm
from tests.servers.farm import clean_environment
from tests.servers.forked_parts import run_command

HOOK = "tests.integration.farm.planted_safety_hook:judge"
ClientOf = Callable[[FarmParts], Client]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    """Run one farm with the planted hook."""
    with sqlite_farm(tmp_path_factory.mktemp("safety"), migrate, safety_hook=HOOK, preview_every=1) as parts:
        yield parts


@pytest.fixture
def client(farm: FarmParts, client_of: ClientOf) -> Client:
    return client_of(farm)


def files_of(farm: FarmParts) -> set[Path]:
    return {path for path in farm.images_dir.rglob("*") if path.is_file()}


def test_a_black_picture_fails_with_its_own_code(client: Client) -> None:
    failed = client.wait(client.submit("synthetic:black")["id"], "failed")
    assert (failed["error"]["code"], failed["error"]["retryable"], failed["attempt"]) == ("black_image", False, 1)


def test_tags_are_shown_with_job_and_image(client: Client) -> None:
    job = client.wait(client.submit("tag it")["id"], "succeeded")
    safety = {"action": "tag", "labels": ["planted", "64"]}
    assert job["outputs"][0]["safety"] == safety
    image = client.http.get(f"/v1/images/{job['outputs'][0]['id']}").json()
    assert image["safety"] == image["record"]["safety"] == safety


def test_a_blurred_image_is_stored_blurred_and_the_job_says_so(client: Client) -> None:
    job = client.wait(client.submit("blur it")["id"], "succeeded")
    assert job["outputs"][0]["safety"]["action"] == "blur"
    assert any("blurred image 0" in warning for warning in job["warnings"])
    content = client.http.get(job["outputs"][0]["content_url"]).content
    assert Image.open(io.BytesIO(content)).size == (64, 64)


def test_an_image_that_passes_has_no_verdict(client: Client) -> None:
    job = client.wait(client.submit("ok then")["id"], "succeeded")
    assert job["outputs"][0].get("safety") is None


def test_a_rejected_image_fails_the_job_and_nothing_is_kept(client: Client, farm: FarmParts) -> None:
    before = files_of(farm)
    failed = client.wait(client.submit("reject it", num_images=3, negative_prompt="2")["id"], "failed")
    assert (failed["error"]["code"], failed["error"]["retryable"]) == ("safety_rejected", False)
    assert failed["outputs"] == []
    wait_until(lambda: files_of(farm) == before)


def test_a_hook_that_raises_holds_the_job_without_charging_an_attempt(client: Client, farm: FarmParts) -> None:
    before = files_of(farm)
    held = client.wait(client.submit("raise it")["id"], "held", "failed")
    assert (held["status"], held["error"]["code"]) == ("held", "safety_hook_failed")
    history = client.http.get(f"/v1/jobs/{held['id']}/history").json()
    assert [attempt["outcome"] for attempt in history["attempts"]] == ["returned"], "no attempt is charged"
    wait_until(lambda: files_of(farm) == before)
    assert client.wait(client.submit("ok after it")["id"], "succeeded")


def test_a_black_start_image_may_stay_black(start_farm: StartFarm, client_of: ClientOf) -> None:
    client = client_of(start_farm())
    for color, status in (("black", "succeeded"), ("white", "failed")):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), color).save(buffer, "PNG")
        upload = client.http.post("/v1/uploads", content=buffer.getvalue(), headers={"Content-Type": "image/png"}).json()
        job = client.submit("synthetic:black", init_image=upload["id"], strength=0.5)
        assert client.wait(job["id"], "succeeded", "failed")["status"] == status


def test_a_worker_does_not_start_without_its_hook(tmp_path: Path) -> None:
    environment = clean_environment(
        IMAGEFARM_SAFETY_HOOK="no_such_module:judge",
        IMAGEFARM_DATA_DIR=str(tmp_path / "data"),
        IMAGEFARM_REDIS_URL="redis://127.0.0.1:1/0",
    )
    done = run_command("worker", "--model", "demo", environment=environment, cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "no_such_module:judge" in done.stderr and "Traceback" not in done.stderr
