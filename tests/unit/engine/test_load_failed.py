"""What a worker is told when its engine could not load a model."""

from __future__ import annotations

import sys
from unittest.mock import Mock

import pytest
import torch

from core.errors import RenderError
from worker.engine.process import _load_failed


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RenderError("Install it.", code="invalid_input"), "invalid_input", "Install it."),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB.\nMore."),
            "out_of_memory",
            "tier that needs less: CUDA out",
        ),
        (MemoryError(), "out_of_memory", "IMAGEFARM_MEMORY_POLICY"),
        (ValueError("?"), "model_unavailable", "The model could not be loaded: ValueError: ?"),
    ],
)
def test_a_failure_has_a_code_and_says_what_to_do(error: BaseException, code: str, words: str) -> None:
    failed = _load_failed(error, process_ends=True)
    assert failed.process_ends
    assert (failed.code, words in failed.message, "\n" in failed.message) == (code, True, False)


def test_a_torch_that_cannot_be_imported_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "worker.device.faults"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("builtins.__import__", Mock(side_effect=ImportError("libcudart.so.13")))
    failed = _load_failed(ImportError("libcudart.so.13"), process_ends=True)
    assert "ImportError: libcudart.so.13" in failed.message
