"""Engines that start before their workers are ready."""

from __future__ import annotations

import pytest

from core.queue import UPSCALE
from core.settings import Settings
from worker.engine import early_start
from worker.engine.early_start import start_early, take_early

WITHOUT_LEAN_ENGINE = (
    Settings(_env_file=None, renderer="synthetic"),
    Settings(_env_file=None, model=UPSCALE),
    Settings(_env_file=None, compile_blocks="on"),
)


@pytest.mark.parametrize("settings", WITHOUT_LEAN_ENGINE)
def test_workers_without_a_lean_engine_start_none_early(settings: Settings) -> None:
    start_early(settings)
    assert take_early("worker.engine") is None


def test_an_early_engine_is_taken_once_and_ends_with_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_start, "IMPORT_OPTION", "--nothing")  # to be quick
    start_early(Settings(_env_file=None))
    assert take_early("worker.synthetic") is None
    engine = take_early("worker.engine")
    assert engine is not None
    assert take_early("worker.engine") is None
    engine.end.close()  # as the kernel does when the worker ends
    assert engine.process.wait(120) == 0
