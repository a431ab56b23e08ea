"""Empty folders are the defaults, and names that are no settings are reported."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dotenv import dotenv_values
from pydantic import ValidationError

from core.misspelt_settings import misspelt_settings
from core.settings import Settings
from core.settings.value_types import MEMORY_POLICIES
from worker.memory.tiers import TIERS


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_folder_is_the_default_and_not_the_current_directory(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    for name in ("DATA_DIR", "MODELS_DIR", "OUTPUTS_DIR"):
        monkeypatch.setenv(f"IMAGEFARM_{name}", empty)
    settings = Settings(_env_file=None)
    assert settings.data_dir == Path.cwd() / "data"
    assert (settings.models_dir, settings.outputs_dir) == (None, None)
    assert settings.resolved_models_dir == settings.data_dir / "models"


def test_names_that_are_no_settings_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGEFARM_DEBUG", "1")
    monkeypatch.setenv("IMAGEFARM_PORT", "7000")
    assert not any("PORT" in sentence or "DEBUG" in sentence for sentence in misspelt_settings(tmp_path))
    monkeypatch.setenv("IMAGEFARM_PROT", "7000")
    (tmp_path / ".env").write_text("\ufeffexport IMAGEFARM_DATADIR=/x\nimagefarm_port=1\n# IMAGEFARM_NO=1\nOTHER=1\n")
    found = misspelt_settings(tmp_path)
    assert "The variable IMAGEFARM_PROT is no setting and has no effect. Did you mean IMAGEFARM_PORT?" in found
    assert found[-1] == "In .env, IMAGEFARM_DATADIR is no setting and has no effect. Did you mean IMAGEFARM_DATA_DIR?"


def test_a_device_or_memory_tier_that_does_not_exist_is_refused() -> None:
    assert tuple(tier.name for tier in TIERS) == MEMORY_POLICIES
    for name, wrong in (("device", "gpu"), ("device", "cuda:x"), ("memory_policy", "tiny")):
        with pytest.raises(ValidationError, match="write auto"):
            Settings.model_validate({"_env_file": None, name: wrong})
    assert Settings(_env_file=None, device="cuda:1", memory_policy="cpu-int8").device == "cuda:1"


def test_a_line_that_is_no_setting_is_reported_in_the_farms_words_by_each_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One is done while another still reads."""
    long, short = tmp_path / "long.env", tmp_path / "short.env"
    long.write_text("# a comment\n" * 50_000 + "not this\n")
    short.write_text("nor this\n")
    with caplog.at_level("WARNING"), ThreadPoolExecutor(2) as pool:
        done = pool.submit(lambda: Settings(_env_file=long))
        time.sleep(0.05)
        Settings(_env_file=short)
        done.result()
    assert [message for message in caplog.messages if "python-dotenv" in message] == []


def test_a_line_of_env_that_is_no_setting_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / ".env"
    file.write_text("IMAGEFARM_PORT=7000\n" + "# a comment\n" * 996 + "this is no setting\n")
    with caplog.at_level("WARNING"):
        assert [Settings(_env_file=file).port for _ in range(2)] == [7000, 7000]
        dotenv_values(file)  # as another part of a user's program may do
    assert caplog.messages == [
        "Line 998 of .env, or the next that is not empty, is not NAME=value and has no effect: correct it.",
        "python-dotenv could not parse statement starting at line 998",
    ]
