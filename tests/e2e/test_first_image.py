"""From the command line to the image through all real parts, as the README describes."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.e2e.waiting import submit, wait_in_flower, wait_settled
from tests.servers.farm import ROOT, FarmProcess

PROMPT = "a lighthouse at dusk, 灯塔 🗼"


@pytest.fixture(scope="module")
def job(farm: FarmProcess) -> dict[str, object]:
    submitted = submit(farm.api, prompt=PROMPT, width=512, height=512, seed=7)
    return wait_settled(farm.api, submitted["id"])


def test_the_image_is_a_png_with_its_parameters(farm: FarmProcess, job: dict[str, object]) -> None:
    assert job["status"] == "succeeded", job["error"]
    assert "noise" in str(job["notice"])
    answer = httpx.get(farm.api + job["outputs"][0]["content_url"])  # type: ignore[index]
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (512, 512))
        parameters = image.info["parameters"]
    assert parameters.startswith(PROMPT)
    assert "Seed: 7" in parameters
    assert "Steps: 8" in parameters


def test_flower_shows_the_job_with_its_columns(farm: FarmProcess, job: dict[str, object]) -> None:
    task = wait_in_flower(farm.flower, str(job["id"]), "SUCCESS")
    assert task["name"] == "imagefarm.render"
    assert task["worker"].endswith(str(job["worker"]))
    table = {"draw": 1, "start": 0, "length": 50, "order[0][column]": 0, "columns[0][data]": "received"}
    rows = httpx.post(f"{farm.flower}/tasks/datatable", data=table).json()["data"]
    row = next(row for row in rows if row["uuid"] == job["id"])
    expected = {"prompt": PROMPT, "model": "demo", "size": "512x512", "steps": 8, "seed": 7, "state": "SUCCESS"}
    assert {name: row[name] for name in expected} == expected
    page = httpx.get(f"{farm.flower}/tasks").text
    for heading in ("Prompt", "Model", "Size", "Steps", "Seed", "Worker"):
        assert f">{heading}</th>" in page


def test_flower_is_read_only_and_local(farm: FarmProcess, job: dict[str, object]) -> None:
    worker = wait_in_flower(farm.flower, str(job["id"]), "SUCCESS")["worker"]
    assert httpx.post(f"{farm.flower}/api/worker/shutdown/{worker}").status_code == 403
    answer = httpx.get(f"{farm.flower}/api/workers", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert httpx.get(f"{farm.flower}/api/workers", headers={"Host": "evil.example"}).status_code == 403


def test_the_readme_example_saves_an_image(farm: FarmProcess, tmp_path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = next(block for block in blocks if "/v1/jobs" in block)
    assert "FARM=http://127.0.0.1:7860" in script
    script = script.replace("FARM=http://127.0.0.1:7860", f"FARM={farm.api}")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    with Image.open(tmp_path / "lighthouse.png") as image:
        assert image.size == (512, 512)
