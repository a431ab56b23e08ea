"""Tiny models: every family has one, identical on every run, and it takes any text."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from core.catalogue import load_catalogue
from core.catalogue.model_folder import missing_files, pipeline_class
from worker.models.tiny_models import TINY_MODELS, build_tiny_model
from worker.models.tiny_models.tokenizers import clip_tokenizer, qwen_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TEXTS = ["a cat", "一只猫在月亮上", "🐱🌙 emoji", "Ünïcödé \u0000 \t tabs\nand lines", ""]


def digest(directory: Path) -> dict[str, str]:
    """Return the hash of every file."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(f.relative_to(directory)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_every_model_has_a_tiny_one() -> None:
    assert set(TINY_MODELS) == {model.id for model in load_catalogue()}


@pytest.mark.parametrize("model_id", TINY_MODELS)
def test_a_tiny_model_is_complete_small_and_of_the_right_class(model_id: str, tiny_models: dict[str, Path]) -> None:
    folder = tiny_models[model_id]
    assert missing_files(folder) == []
    assert load_catalogue().get(model_id).pipeline in ("auto", pipeline_class(folder))
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 3_000_000


@pytest.mark.parametrize("model_id", ["demo", "lcm-sd15", "sdxl-turbo"])
def test_the_seed_decides_every_byte(model_id: str, tmp_path: Path, tiny_models: dict[str, Path]) -> None:
    again = build_tiny_model(model_id, tmp_path / "again")
    other = build_tiny_model(model_id, tmp_path / "other", seed=1)
    assert digest(again) == digest(tiny_models[model_id])
    assert digest(other) != digest(tiny_models[model_id])


def test_building_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_tiny_model("lcm-sd15", tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_tokenizes_without_unknown_tokens(text: str) -> None:
    qwen, clip = qwen_tokenizer(), clip_tokenizer()
    assert qwen.decode(qwen(text).input_ids) == text
    ids = clip(text, truncation=True, max_length=77).input_ids
    assert ids[0] == clip.bos_token_id
    assert ids[-1] == clip.eos_token_id
    assert len(ids) <= 77
    assert clip.eos_token_id not in ids[1:-1]
