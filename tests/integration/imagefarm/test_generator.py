"""`get_generator().generate(...)` on a running farm and without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.faults.parts import FarmParts
from core.imagefile import read_metadata
from tests.servers.farm import clean_environment
from tests.servers.ports import free_port

CALL = """
import json
from app.core.generator import get_generator
generator = get_generator()
for steps in (4, 2):
    output_paths, gen_time, metadata = generator.generate(
        prompt="一只猫", negative_prompt="bad", width=64, height=64, num_inference_steps=steps, cfg_scale=7.5,
        num_images=2, seed=5)
    print(json.dumps([output_paths, gen_time, metadata]))
"""


def run(cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", CALL]
    return subprocess.run(
        command, cwd=cwd, env=clean_environment(**environment), capture_output=True, text=True, check=False, timeout=400
    )


def check(done: subprocess.CompletedProcess[str], cwd: Path) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    assert "images are noise" in done.stderr
    calls = [json.loads(line) for line in done.stdout.splitlines()]
    paths = [path for call in calls for path in call[0]]
    assert len(set(paths)) == 4
    assert sorted(str(path.relative_to(cwd)) for path in (cwd / "outputs").iterdir()) == sorted(paths)
    assert all(call[1] > 0 for call in calls)
    metadata: list[dict[str, Any]] = [record for call in calls for record in call[2]]
    assert [(record["seed"], record["num_inference_steps"]) for record in metadata] == [(5, 4), (6, 4), (5, 2), (6, 2)]
    for path, record in zip(paths, metadata, strict=True):
        written = read_metadata((cwd / path).read_bytes()).imagefarm
        assert written is not None
        assert written.model_dump(mode="json", exclude_none=True) == record
    return metadata


def test_generate_renders_on_the_running_farm(running: FarmParts, tmp_path: Path) -> None:
    done = run(tmp_path, IMAGEFARM_URL=running.url)
    metadata = check(done, tmp_path)
    assert f"rendering on the farm at {running.url}" in done.stderr
    assert {record["prompt"] for record in metadata} == {"一只猫"}
    assert not (tmp_path / "data").exists()


def test_generate_renders_in_this_process_when_no_farm_answers(tmp_path: Path) -> None:
    done = run(tmp_path, IMAGEFARM_PORT=str(free_port()), IMAGEFARM_DEVICE="cpu", IMAGEFARM_MODEL="demo")
    metadata = check(done, tmp_path)
    assert "rendering in this process" in done.stderr
    assert metadata[0]["record"]["family"] == "z-image"
    assert metadata[0]["guidance_scale"] == 7.5


def test_generate_fails_when_the_configured_farm_does_not_answer(tmp_path: Path) -> None:
    done = run(tmp_path, IMAGEFARM_URL=f"http://127.0.0.1:{free_port()}")
    assert done.returncode != 0
    assert "farm_unreachable" in done.stderr or "does not answer" in done.stderr
    assert not (tmp_path / "data").exists(), "it must not render locally instead"
