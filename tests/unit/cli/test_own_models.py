"""`imagefarm models add`, `list`, `files`, `inspect` and `remove` on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from cli.exit_codes import ExitCode
from tests.unit.cli.test_main import cli
from tests.unit.models import weight_samples as samples
from tests.unit.models.comfy_folder import write_comfy


def test_a_file_is_added_listed_and_removed(tmp_path: Path) -> None:
    file = samples.write_safetensors(tmp_path / "dream.safetensors", samples.checkpoint("sd15"))
    added = cli("models", "add", str(file), "--name", "dream", cwd=tmp_path)
    assert added.returncode == ExitCode.OK, added.stderr
    assert "a checkpoint of Stable Diffusion 1.5" in added.stdout
    assert "imagefarm worker --model dream" in added.stdout
    rows = {row["id"]: row for row in json.loads(cli("models", "list", "--json", cwd=tmp_path).stdout)}
    assert (rows["dream"]["source"], rows["demo"]["source"]) == ("added", "shipped")
    assert rows["dream"]["files"]["unet"] == str(file)
    assert "lacks the tensor" in rows["dream"]["problems"][0], "its few tensors are no whole model"
    removed = cli("models", "remove", "dream", cwd=tmp_path)
    assert "Its files stay" in removed.stdout
    assert file.is_file()


def test_an_incomplete_model_is_a_usage_error_without_a_traceback(tmp_path: Path) -> None:
    file = samples.write_safetensors(tmp_path / "z.safetensors", samples.z_image())
    done = cli("models", "add", str(file), cwd=tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "--text-encoder" in done.stderr
    assert "Traceback" not in done.stderr


def test_problems_of_the_catalogue_and_of_files_are_shown(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    gone = '[[model]]\nid = "gone"\nbase = "sd15"\nfolder = "/nowhere"\n[[model]]\nid = "bad"\n'
    (tmp_path / "data" / "models.toml").write_text(gone)
    done = cli("models", "list", cwd=tmp_path)
    assert done.returncode == ExitCode.OK
    assert "gone: the folder /nowhere does not exist" in done.stdout
    assert "line 5" in done.stderr


def test_weights_folders_are_listed(tmp_path: Path) -> None:
    root = write_comfy(tmp_path / "comfy")
    done = cli("models", "files", "--json", cwd=tmp_path, IMAGEFARM_WEIGHTS_DIRS=str(root))
    answer = json.loads(done.stdout)
    assert {model["id"] for model in answer["models"]} == {"z-image-turbo-bf16", "z-image-turbo-q8-0", "dream-shaper-8"}
    assert answer["files"]["loras"][1]["size_bytes"] > 0
    text = cli("models", "files", cwd=tmp_path, IMAGEFARM_WEIGHTS_DIRS=str(root)).stdout
    assert "no model: lonely.safetensors" in text


def test_inspect_says_what_a_file_is(tmp_path: Path) -> None:
    file = samples.write_safetensors(tmp_path / "ae.safetensors", samples.vae(16))
    assert "the VAE of Flux.1" in cli("models", "inspect", str(file), cwd=tmp_path).stdout
    other = samples.write_safetensors(tmp_path / "x.safetensors", {"some.weight": ("F32", [2])})
    done = cli("models", "inspect", str(other), cwd=tmp_path)
    assert done.returncode == ExitCode.FAILED
    assert "Supported are" in done.stdout
