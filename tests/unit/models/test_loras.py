"""Find LoRA files: their places, their names, and which file a name means for a model."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from core.catalogue import load_catalogue
from core.catalogue import loras as module
from core.catalogue.lora_facts import LoraFacts, read_facts
from core.catalogue.loras import LoraHashes, LoraLibrary, choose, hash_file, usable
from core.errors import InvalidInput
from core.settings import Settings
from tests.unit.models.test_lora_facts import write_lora

Z_IMAGE = {"transformer.layers.0.attention.to_q.lora_A.weight": [2, 8]}
SD15 = {"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": [2, 768]}
DEMO, SD = load_catalogue().get("demo"), load_catalogue().get("lcm-sd15")


@pytest.fixture
def library(tmp_path: Path) -> LoraLibrary:
    return LoraLibrary(tmp_path / "models", [tmp_path / "comfy", tmp_path / "missing"])


def test_all_places_are_searched_with_their_folders(library: LoraLibrary, tmp_path: Path) -> None:
    write_lora(tmp_path / "models/loras/style/ink.safetensors", Z_IMAGE)
    write_lora(tmp_path / "models/demo/loras/own.safetensors", Z_IMAGE)
    write_lora(tmp_path / "models/demo/weights/loras/part.safetensors", Z_IMAGE)
    write_lora(tmp_path / "comfy/loras/a/b/v1.5 gold.safetensors", SD15)
    write_lora(tmp_path / "comfy/loras/.trash/old.safetensors", SD15)
    write_lora(tmp_path / "comfy/checkpoints/other.safetensors", SD15)
    found = [(file.name, file.file, file.place, file.model) for file in library.files()]
    assert found == [
        ("own", "own.safetensors", "model", "demo"),
        ("ink", "style/ink.safetensors", "models_dir", ""),
        ("v1.5 gold", "a/b/v1.5 gold.safetensors", "weights_dir", ""),
    ]
    assert sorted(usable(library.files(), DEMO)) == ["ink", "own"]
    assert sorted(usable(library.files(), SD)) == ["v1.5 gold"]


def test_a_name_means_the_first_file_that_the_model_may_take(library: LoraLibrary, tmp_path: Path) -> None:
    for place, shapes in (("models/loras/b", Z_IMAGE), ("models/loras/a", SD15), ("comfy/loras", Z_IMAGE)):
        write_lora(tmp_path / place / "ink.safetensors", shapes)
    assert choose(library.files(), "ink", DEMO).path == tmp_path / "models/loras/b/ink.safetensors"
    assert choose(library.files(), "ink", SD).path == tmp_path / "models/loras/a/ink.safetensors"
    write_lora(tmp_path / "models/demo/loras/z/ink.safetensors", Z_IMAGE)
    assert choose(library.files(), "ink", DEMO).place == "model"


def test_an_unusable_name_says_why(library: LoraLibrary, tmp_path: Path) -> None:
    write_lora(tmp_path / "models/loras/ink.safetensors", Z_IMAGE)
    write_lora(tmp_path / "models/loras/photo.safetensors", SD15)
    write_lora(tmp_path / "models/z-image/loras/base.safetensors", Z_IMAGE)
    (tmp_path / "models/loras/broken.safetensors").write_bytes(b"")
    expected = {
        "../loras/ink": ("unknown_lora", "There is no LoRA '../loras/ink' here. Available for demo: ink."),
        "photo": (
            "wrong_lora_family",
            "The LoRA 'photo' is for Stable Diffusion 1.5, and the job is for demo (Z-Image). Available for demo: ink.",
        ),
        "base": (
            "wrong_lora_family",
            "The LoRA 'base' is in the folder of z-image, and the job is for demo. Available for demo: ink.",
        ),
        "broken": ("damaged_lora", "The LoRA 'broken' cannot be used: broken.safetensors is empty: download it again."),
    }
    for name, (code, message) in expected.items():
        with pytest.raises(InvalidInput) as caught:
            choose(library.files(), name, DEMO)
        assert (caught.value.code, caught.value.message, caught.value.field) == (code, message, "loras")
    with pytest.raises(InvalidInput, match=r"There is no LoRA 'x' here\. There is none for demo: put LoRA files into"):
        choose([], "x", DEMO)


def test_headers_are_read_once_and_again_after_a_change(
    library: LoraLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def counted(path: Path) -> LoraFacts:
        reads.append(path)
        return read_facts(path)

    monkeypatch.setattr(module, "read_facts", counted)
    file = write_lora(tmp_path / "models/loras/ink.safetensors", Z_IMAGE)
    library.files()
    library.files()
    assert reads == [file]
    write_lora(file, SD15)
    os.utime(file, ns=(1, 1))
    assert library.files()[0].facts.architectures == ("sd15",)
    assert reads == [file, file]


def test_a_listing_hashes_nothing_and_a_hash_is_kept(
    library: LoraLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lora(tmp_path / "models/loras/ink.safetensors", Z_IMAGE)
    hashed: list[Path] = []

    def counted(path: Path) -> LoraHashes:
        hashed.append(path)
        return hash_file(path)

    monkeypatch.setattr(module, "hash_file", counted)
    (file,) = library.files()
    assert library.known_hashes(file) is None
    assert not hashed
    data = path.read_bytes()
    hashes = library.hashes(file)
    assert hashes.sha256 == hashlib.sha256(data).hexdigest()
    assert hashes.short == hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()[:12]
    assert library.hashes(file) == library.known_hashes(file) == hashes
    assert hashed == [path]
    os.utime(path, ns=(1, 1))
    assert library.known_hashes(library.files()[0]) is None


def test_links_that_lead_in_circles_or_nowhere_are_no_problem(library: LoraLibrary, tmp_path: Path) -> None:
    write_lora(tmp_path / "models/loras/ink.safetensors", Z_IMAGE)
    write_lora(tmp_path / "elsewhere/far.safetensors", Z_IMAGE)
    (tmp_path / "models/loras/self").symlink_to(tmp_path / "models/loras")
    (tmp_path / "models/loras/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "models/loras/gone.safetensors").symlink_to(tmp_path / "nothing")
    assert [file.name for file in library.files()] == ["ink", "far"]


def test_weights_dirs_are_read_as_a_path_list_or_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a", tmp_path / "b c"
    for text in (f"{first}{os.pathsep} {second}", f'["{first}", "{second}"]'):
        monkeypatch.setenv("IMAGEFARM_WEIGHTS_DIRS", text)
        assert Settings(_env_file=None).weights_dirs == [first, second]
    monkeypatch.setenv("IMAGEFARM_WEIGHTS_DIRS", "")
    assert Settings(_env_file=None).weights_dirs == []
    monkeypatch.setenv("IMAGEFARM_WEIGHTS_DIRS", "[broken")
    with pytest.raises(ValueError, match="it is not JSON"):
        Settings(_env_file=None)
