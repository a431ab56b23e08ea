"""Verification of weight files against checksums of a pull, of the hub's cache, and of an earlier check; removal."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from core.catalogue import CatalogueModel, ModelPaths, load_catalogue
from core.errors import Conflict, NotFound
from tests.unit.models.diffusers_folder import write_hub_snapshot, write_model
from worker.models import checksums
from worker.models.folders import Contents, atomic_folder
from worker.models.pull import PullProgress
from worker.models.pull.pull import exclusive_pull
from worker.models.remove_weights import remove_weights
from worker.models.verify import Verified, verify

TURBO = load_catalogue().get("z-image-turbo")
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def model_paths(tmp_path: Path) -> ModelPaths:
    """Return paths at which there are no models."""
    return ModelPaths(tmp_path / "models", {}, tmp_path / "hub")


def pulled(model_paths: ModelPaths) -> Path:
    """Write weights as a pull does and return their folder."""
    target = model_paths.weights(TURBO.id)
    with atomic_folder(target, Contents(TURBO.id, "hub", "repo", "bfloat16")) as draft:
        write_model(draft)
        checksums.record_folder(draft, [path for path in draft.rglob("*") if path.is_file()], lambda *_: None)
    return target


def check(model_paths: ModelPaths, model: CatalogueModel = TURBO) -> Verified:
    return verify(model, model_paths, lambda _: None)


def states(verified: Verified) -> dict[str, str]:
    return {file.name: file.state for file in verified.files}


def flip(file: Path) -> None:
    """Change the last bit of a file's content; its time of change stays."""
    times = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_every_file_of_a_pull_is_compared(model_paths: ModelPaths) -> None:
    folder = pulled(model_paths)
    seen: list[PullProgress] = []
    verified = verify(TURBO, model_paths, seen.append)
    assert verified.state == "ok"
    assert {VAE, "vae/config.json", "model_index.json"} <= set(states(verified))
    assert seen[-1].done_bytes == seen[-1].total_bytes > 0
    flip(folder / VAE)
    verified = check(model_paths)
    assert verified.state == "damaged"
    assert [name for name, state in states(verified).items() if state != "ok"] == [VAE]
    (damaged,) = (file for file in verified.files if file.name == VAE)
    assert "differs from what was recorded" in damaged.sentence
    assert check(model_paths).state == "damaged", "a damaged file of a pull must never be recorded as right"


def test_cut_and_missing_files_are_named(model_paths: ModelPaths) -> None:
    folder = pulled(model_paths)
    with (folder / VAE).open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 3)
    (folder / "transformer" / "config.json").unlink()
    verified = check(model_paths)
    sentences = {file.name: file.sentence for file in verified.files if file.state == "damaged"}
    assert "is cut off" in sentences[VAE]
    assert "is missing" in sentences["transformer/config.json"]
    assert any("config.json is missing" in problem for problem in verified.problems)


def test_files_of_the_user_are_recorded_at_the_first_check(model_paths: ModelPaths, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine")
    named = ModelPaths(model_paths.models_dir, {TURBO.id: folder}, model_paths.hub_cache)
    first = check(named)
    assert first.state == "unknown"
    assert all("is recorded" in file.sentence for file in first.files)
    assert check(named).state == "ok"
    flip(folder / VAE)
    assert states(check(named))[VAE] == "damaged"
    assert states(check(named))[VAE] == "damaged"
    os.utime(folder / VAE)  # As a user who replaces the file does.
    replaced = check(named)
    assert states(replaced)[VAE] == "unknown"
    assert check(named).state == "ok"
    assert not list(folder.rglob("checksums.json")), "folders of the user are never written to"


def test_files_in_the_hubs_cache_are_compared_with_their_names(model_paths: ModelPaths) -> None:
    snapshot = write_hub_snapshot(model_paths.hub_cache, TURBO.weights.repo)
    write_model(snapshot)
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    for path in list(snapshot.rglob("*.safetensors")):
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, blob)
        path.unlink()
        path.symlink_to(blob)
    assert check(model_paths).state == "ok"
    flip((snapshot / VAE).resolve())
    verified = check(model_paths)
    sentences = {file.name: file.sentence for file in verified.files if file.state == "damaged"}
    assert "differs from what the hub lists" in sentences[VAE]


def test_git_names_of_small_files_are_computed_as_git_does(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("hello\n")
    assert checksums.git_blob_of(file, lambda *_: None) == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_model_without_weights_is_an_error(model_paths: ModelPaths) -> None:
    with pytest.raises(NotFound) as caught:
        check(model_paths)
    assert caught.value.code == "weights_missing"
    assert "imagefarm models pull z-image-turbo" in caught.value.message


def test_removal_deletes_what_the_farm_wrote_and_nothing_else(model_paths: ModelPaths) -> None:
    pulled(model_paths)
    own = model_paths.models_dir / TURBO.id
    with atomic_folder(own / "transformer-int8-bfloat16", Contents(TURBO.id, "folder", "weights", "int8")) as draft:
        (draft / "packed.safetensors").write_bytes(bytes(10))
    download = model_paths.models_dir / ".downloads" / TURBO.id
    download.mkdir(parents=True)
    (download / "a.part").write_bytes(bytes(100))
    loras = own / "loras"
    loras.mkdir()
    (loras / "mine.safetensors").write_bytes(bytes(5))
    removed = remove_weights(TURBO, model_paths)
    assert removed.folders == ["transformer-int8-bfloat16", "weights", ".downloads"]
    assert removed.freed_bytes > 110
    assert [path.name for path in own.iterdir()] == ["loras"]
    assert not download.exists()
    assert remove_weights(TURBO, model_paths).freed_bytes == 0


def test_removal_is_refused_during_a_pull(model_paths: ModelPaths) -> None:
    folder = pulled(model_paths)
    with exclusive_pull(model_paths, TURBO.id), pytest.raises(Conflict) as caught:
        remove_weights(TURBO, model_paths)
    assert caught.value.code == "pull_running"
    assert folder.exists()
