"""Damaged weights are named with their file and damage, by headers and sizes alone."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from core.catalogue import ModelPaths, is_present, load_catalogue, locate
from core.catalogue.weight_damage import damage_of
from core.errors import InvalidInput, RenderError
from core.settings import Settings
from tests.unit.models.diffusers_folder import write_model, write_safetensors
from worker.models import doctor
from worker.models.pull import PullOptions, pull

TURBO = load_catalogue().get("z-image-turbo")
FILE = "diffusion_pytorch_model.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12309866400\n"


def overwrite(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def cut(keep: Callable[[int], int]) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(file.read_bytes()[: keep(file.stat().st_size)])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "pointer": (overwrite(POINTER.encode()), "is a git-LFS pointer.*git lfs pull"),
    "empty": (overwrite(b""), "is empty"),
    "page": (overwrite(b"\n<!DOCTYPE html><html>502 Bad Gateway</html>" * 100), "is a web page"),
    "json": (overwrite(b'{"error": "Invalid credentials"}'), "is a JSON text"),
    "zeros": (overwrite(bytes(10_000)), "begins with zeros only"),
    "text": (overwrite(b"not found"), "is not a safetensors file"),
    "cut by a byte": (cut(lambda size: size - 1), "is cut off: [0-9,]+ of [0-9,]+ bytes are there"),
    "cut in the header": (cut(lambda size: 40), "is cut off: its header alone"),
    "cut in the length": (cut(lambda size: 5), "is not a safetensors file"),
    "too long": (lambda file: file.write_bytes(file.read_bytes() + b"x"), "is damaged: it has 1 bytes more"),
    "header": (overwrite(struct.pack("<Q", 10) + b"{{{{{{{{{{"), "has a damaged header"),
    "offsets": (overwrite(struct.pack("<Q", 8) + b'{"a": 1}'), "has a damaged header"),
    "no tensors": (overwrite(struct.pack("<Q", 2) + b"{}"), "holds no tensors"),
}


@pytest.fixture(autouse=True)
def empty_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide weights in the cache of the user who runs the tests."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a complete model."""
    return write_model(tmp_path / "mine")


@pytest.fixture
def model_paths(tmp_path: Path, folder: Path) -> ModelPaths:
    return ModelPaths(tmp_path / "models", {TURBO.id: folder}, tmp_path / "hub")


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_damage_is_named_wherever_the_weights_are_looked_at(
    kind: str, tmp_path: Path, folder: Path, model_paths: ModelPaths
) -> None:
    damage, words = DAMAGE[kind]
    assert is_present(TURBO, model_paths)
    damage(folder / "transformer" / FILE)
    expected = f"transformer/{FILE} {words}"
    with pytest.raises(RenderError, match=f"cannot be loaded: .*{expected}") as caught:
        locate(TURBO, model_paths)
    assert caught.value.code == "model_unavailable"
    with pytest.raises(InvalidInput, match=expected):
        pull(TURBO, ModelPaths(tmp_path / "empty", {}, tmp_path / "hub"), PullOptions(source=folder), lambda _: None)
    settings = Settings(_env_file=None, data_dir=tmp_path, model=TURBO.id, model_folders={TURBO.id: folder})
    check = doctor.check_weights(settings)
    assert check.status == "problem"
    assert FILE in check.advice
    automatic = doctor.check_weights(settings.model_copy(update={"model": "auto"}))
    assert FILE in automatic.advice


def test_the_list_shows_the_damage(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "vae" / FILE).write_text(POINTER)
    monkeypatch.setenv("IMAGEFARM_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("IMAGEFARM_MODEL_FOLDERS", json.dumps({TURBO.id: str(folder)}))
    shown = CliRunner().invoke(app, ["models", "list"]).output
    assert "broken" in shown
    assert f"{TURBO.id}: {folder} is damaged: vae/{FILE} is a git-LFS pointer" in shown
    rows = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).output)
    assert [row["id"] for row in rows if row["problems"]] == [TURBO.id]


def test_a_tensor_that_the_index_names_and_no_shard_has_is_named(folder: Path, model_paths: ModelPaths) -> None:
    (folder / "vae" / FILE).unlink()
    first, second = (f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2))
    write_safetensors(folder / "vae" / first, {"a": [1]})
    write_safetensors(folder / "vae" / second, {"b": [1]})
    index = {"weight_map": {"a": first, "b": second, "c": second}}
    (folder / "vae" / f"{FILE}.index.json").write_text(json.dumps(index))
    with pytest.raises(RenderError, match=f"names the tensor c, missing from {second}"):
        locate(TURBO, model_paths)


def test_a_pointer_in_place_of_a_tokenizer_is_named(folder: Path, model_paths: ModelPaths) -> None:
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_text(POINTER)
    with pytest.raises(RenderError, match=r"tokenizer/tokenizer\.json is a git-LFS pointer"):
        locate(TURBO, model_paths)


def test_a_damaged_file_of_another_set_does_no_harm(folder: Path, model_paths: ModelPaths) -> None:
    (folder / "vae" / "diffusion_pytorch_model.bin").write_text(POINTER)
    assert is_present(TURBO, model_paths)


def test_pickles_are_checked_by_their_archive(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", b"x" * 1000)
    assert damage_of(file) == ""
    file.write_bytes(file.read_bytes()[:-30])
    assert "cut off" in damage_of(file)
    file.write_bytes(b"\x80\x02}")
    assert damage_of(file) == "", "torch before 1.6 wrote plain pickles"


def test_a_large_file_is_checked_without_reading_its_tensors(tmp_path: Path) -> None:
    """The file is sparse: 200 GB that take no room, and hours to read."""
    file = tmp_path / "model.safetensors"
    header = json.dumps({"a": {"dtype": "U8", "shape": [200 * 10**9], "data_offsets": [0, 200 * 10**9]}}).encode()
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(header)) + header)
        opened.truncate(8 + len(header) + 200 * 10**9)
    assert damage_of(file) == ""
    with file.open("r+b") as opened:
        opened.truncate(100 * 10**9)
    assert "is cut off" in damage_of(file)
