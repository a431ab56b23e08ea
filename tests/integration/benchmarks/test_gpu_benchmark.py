"""Every measurement of `python -m benchmarks.gpu` completes with a tiny model on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu.__main__ import main, parse
from benchmarks.gpu.requests import MIXED_LENGTHS, make_requests, rate
from benchmarks.gpu.weights import full_size_pipeline, measured_model
from tests.servers.forks import ENGINE_IMPORTS, run_fork
from worker.memory.tiers import TIERS
from worker.models.tiny_models.tokenizers import qwen_tokenizer

ROOT = Path(__file__).parents[3]
CPU_TIERS = [tier for tier in TIERS if tier.device == "cpu" and not tier.for_packed_files]


def bench(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark on a machine without a visible GPU."""
    shown = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    return run_fork("benchmarks.gpu", *words, imports=ENGINE_IMPORTS, environment={**os.environ, **shown}, cwd=ROOT)


def dry_run(tmp_path: Path, *words: str) -> list[dict[str, Any]]:
    """Run it dry; return its lines without the GPU's and the weights'."""
    done = bench(tmp_path, *words, "--dry-run", "--sizes", "64")
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("imagefarm-gpu-*"))
    return [json.loads(line) for line in done.stdout.splitlines()][2:]


def test_speed_in_a_named_tier(tmp_path: Path) -> None:
    words = (
        "--tier",
        "cpu-int8",
        "--count",
        "1",
        "--in-flight",
        "2",
        "--engine",
        "token_budget=512",
        "compile_blocks=false",
    )
    stock, opened, figures = dry_run(tmp_path, "speed", *words)
    assert opened["tier"] == figures["tier"] == "cpu-int8"
    assert figures["stock_seconds_per_image"] == stock["stock_seconds_per_image"] > 0
    assert figures["engine_loaded_images_per_second"] > 0
    assert figures["engine_loaded_images_per_second_mixed_captions"] > 0


def test_the_rate_excludes_ramp_up_and_tail() -> None:
    ramp_up, steady, tail = [1.0, 5.0], [float(6 + n) for n in range(7)], [20.0, 30.0, 40.0]
    assert rate([*ramp_up, *steady, *tail], 4) == pytest.approx(1.0)


def test_mixed_captions_have_several_padded_lengths_and_unique_prompts() -> None:
    tokenizer = qwen_tokenizer()
    requests = [each for label in ("a", "b") for each in make_requests(64, 12, label, MIXED_LENGTHS)]
    assert len({each.prompt for each in requests}) == 24
    assert len({-(-len(tokenizer(each.prompt)["input_ids"]) // 32) for each in requests}) >= 4


def test_memory_uses_the_tier_that_fits_each_cap_and_reports_caps_that_are_too_small(tmp_path: Path) -> None:
    refused, loaded, rendered = dry_run(tmp_path, "memory", "--cap", "0.0001", "16")
    assert "does not fit on cpu" in refused["failed"]
    assert loaded["tier"] == rendered["tier"] == "cpu"
    assert loaded["loading"]
    assert rendered["size"] == 64
    assert rendered["first_image_seconds"] > 0


def test_load_measures_every_form(tmp_path: Path) -> None:
    lines = dry_run(tmp_path, "load")
    assert {line["tier"] for line in lines} <= {tier.name for tier in CPU_TIERS}
    assert len(lines) == len({tier.denoiser for tier in CPU_TIERS})
    for line in lines:
        assert line["converted_gigabytes"] > 0
        assert line["later_load_seconds"] > 0
        assert line["converted_once"]
        assert line["first_image_seconds"] > 0


def test_packed_files_are_measured(tmp_path: Path) -> None:
    lines = dry_run(tmp_path, "packed")
    assert [(line["form"], line.get("size")) for line in lines] == [("Q8_0", None), ("Q8_0", 64), ("fp8", None), ("fp8", 64)]
    assert all(line["step_seconds"] > 0 for line in lines[1::2])


def test_unusable_options_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", "load"])
    assert main() == 2
    assert "No CUDA device" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        parse(["speed", "--engine", "no_such=1"])
    assert "the engine's spec has no no_such" in capsys.readouterr().err
    no_tier = bench(tmp_path, "load", "--dry-run", "--tier", "no-such")
    assert (no_tier.returncode, "one of: cpu, cpu-int8" in no_tier.stderr) == (1, True)


def test_the_full_size_has_the_published_shape() -> None:
    pipeline = full_size_pipeline(torch.device("meta"), torch.float32)
    found = {
        name: sum(p.numel() for p in getattr(pipeline, name).parameters()) for name in measured_model().weights.parameters
    }
    assert found == dict(measured_model().weights.parameters)
    dtypes = {name: getattr(pipeline, name).dtype for name in found}
    assert dtypes == {"transformer": torch.float32, "text_encoder": torch.bfloat16, "vae": torch.bfloat16}
