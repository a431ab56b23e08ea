"""`imagefarm bench scenes` on a running farm and without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.faults.parts import FarmParts
from cli.exit_codes import ExitCode
from tests.integration.imagefarm.conftest import Cli
from tests.servers.farm import clean_environment
from tests.servers.forked_parts import run_command
from tests.servers.ports import free_port


def check(folder: Path, output: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "out.json").read_text())
    assert [scene["id"] for scene in report["scenes"]] == [
        "anime-girl",
        "golden-retriever",
        "mountain-sunrise",
        "coffee-cup",
    ]
    for scene in report["scenes"]:
        assert scene["seconds_per_image"] > 0 and scene["load_seconds"] is not None
        assert (scene["num_inference_steps"], scene["cost_factor"]) == (8, 1.0)
    assert report["published"]["seconds"] == [12.4, 22.3]
    assert "Golden retriever" in output and "12.4 to 22.3" in output
    for name in ("chart.png", "sheet.png"):
        with Image.open(folder / name) as image:
            assert image.width > 1000
    return report


def test_scenes_render_on_a_farm(cli: Cli, running: FarmParts, tmp_path: Path) -> None:
    files = ("--json", "out.json", "--chart", "chart.png", "--sheet", "sheet.png")
    done = cli("bench", "scenes", "--recipe", "authors", *files)
    assert done.returncode == ExitCode.OK, done.stderr
    assert check(tmp_path, done.stdout)["farm"] == running.url


def test_scenes_render_without_a_farm_and_report_memory(tmp_path: Path) -> None:
    files = ("--json", "out.json", "--chart", "chart.png", "--sheet", "sheet.png")
    words = ("bench", "scenes", "--recipe", "authors", "--model", "demo", *files)
    environment = clean_environment(IMAGEFARM_PORT=str(free_port()), IMAGEFARM_DEVICE="cpu")
    done = run_command(*words, environment=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = check(tmp_path, done.stdout)
    assert report["farm"] is None and report["random_weights"]
    assert all(scene["peak_memory_gb"] > 0.1 for scene in report["scenes"])


def test_bad_options_end_before_anything_is_rendered(cli: Cli, tmp_path: Path) -> None:
    for words in (("--recipe", "best"), ("--model", "nope"), ("--compare", "none.json"), ("--chart", "no/folder.png")):
        done = cli("bench", "scenes", *words)
        assert done.returncode != ExitCode.OK and words[1].split("/")[0] in done.stderr, done.stderr
        assert "Anime girl" not in done.stderr
