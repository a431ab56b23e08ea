"""Batches with axes on the command line: sheet, ratings by axis value, comparison of two images."""

from __future__ import annotations

import io
import json
from pathlib import Path

import httpx
from PIL import Image as Pillow
from typer.testing import CliRunner

from cli.main import app
from imagefarm import ImageFarm
from tests.integration.api.conftest import BOTH
from tests.integration.api.running import WorkerSide


def run(*words: str) -> tuple[object, str]:
    result = CliRunner().invoke(app, words, standalone_mode=False)
    assert result.exception is None, result.exception
    return result.return_value, result.output


@BOTH
def test_axes_on_the_command_line_are_rendered_rated_and_compared(
    api: httpx.Client, worker: WorkerSide, tmp_path: Path
) -> None:
    sheet, out, url = tmp_path / "sheet.webp", tmp_path / "out", ["--url", str(api.base_url)]
    axes = ["--axis", "seed=1,2", "--axis", 'prompt_sr=red,"blue, dark"', "--axis", "steps=4", "--set", "size=64x64"]
    with worker.working():
        code, text = run("batch", "--prompt", "a red fox", *axes, "--sheet", str(sheet), "--save", str(out), "--json", *url)
    batch = json.loads(text.splitlines()[-1])
    assert (code, batch["counts"], len(batch["files"])) == (0, {"succeeded": 4}, 4)
    assert Pillow.open(io.BytesIO(sheet.read_bytes())).format == "WEBP"
    assert {item["axes"]["prompt_sr"] for item in batch["jobs"]} == {"red", "blue, dark"}
    images = {(item["axes"]["seed"], item["axes"]["prompt_sr"]): item["outputs"][0]["id"] for item in batch["jobs"]}
    run("rate", "5", images[1, "red"], images[2, "red"], *url)
    run("rate", "2", images[1, "blue, dark"], *url)
    with ImageFarm(str(api.base_url)) as farm:
        rows = {(row.axis, row.value): row for row in farm.batches.get(batch["id"]).ratings}
        table = farm.batches.ratings(batch["id"])
    assert {axis for axis, _ in rows} == {"seed", "prompt_sr"}, "axes with one value are left out"
    assert (rows["prompt_sr", "red"].mean_rating, rows["seed", 1].mean_rating) == (5.0, 3.5)
    assert 'prompt_sr,"blue, dark",2,1,2' in table.splitlines()
    run("rate", "0", images[1, "red"], *url)
    assert api.get(f"/v1/images/{images[1, 'red']}").json()["rating"] is None
    picture = tmp_path / "both.png"
    code, text = run("compare", images[1, "red"], batch["files"][1], "-o", str(picture), "--json", *url)
    found = json.loads(text)
    assert found["figures"]["psnr"] is None and Pillow.open(io.BytesIO(picture.read_bytes())).width > 3 * 64
    assert [each["field"] for each in found["differences"]] == ["prompt"]
    assert run("compare", *batch["files"][:2], "--min-ssim", "1.0")[0] == 0


def test_wrong_axes_are_refused_with_what_to_do(api: httpx.Client) -> None:
    for words, message in (
        (["--axis", "colour=red"], "is not an axis"),
        (["--axis", "seed"], "has no values"),
        (["--axis", "steps=many"], "num_inference_steps"),
        (["--set", "x"], "has no value"),
        (["--set", "x=1"], "base.x"),
        (["--sheet", "x.gif"], "must end in .png or .webp"),
        (["jobs.csv"], "are alternatives"),
    ):
        result = CliRunner().invoke(
            app, ["batch", "--prompt", "a", *words, "--url", str(api.base_url)], standalone_mode=False
        )
        assert message in str(result.exception), (words, result.exception, result.output)
    alone = CliRunner().invoke(app, ["batch", "--matrix"], standalone_mode=False)
    assert "need --prompt" in str(alone.exception)
    missing = CliRunner().invoke(app, ["compare", "no.png", "no.png"], standalone_mode=False)
    assert "neither a file nor the id" in str(missing.exception)
