"""A file written one tensor at a time reads back in full, and a missing tensor is an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import _TYPES, load_file

from worker.memory.weight_files import SAFETENSORS_DTYPES, Layout, TensorFile

TENSORS = {
    "odd": torch.arange(7, dtype=torch.int8),
    "wide": torch.randn(3, 5, dtype=torch.float64),
    "half": torch.randn(4, 3).to(torch.bfloat16).t(),
    "unsigned": torch.tensor([1, 65535], dtype=torch.uint16),
    "complex": torch.randn(3, dtype=torch.complex64),
    "one": torch.tensor(True),
    "none": torch.zeros(0, 4),
}


def layouts_of(tensors: dict[str, torch.Tensor]) -> dict[str, Layout]:
    return {name: Layout(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}


def test_every_dtype_that_safetensors_reads_is_known() -> None:
    assert dict(_TYPES) == SAFETENSORS_DTYPES


def test_a_file_reads_back_in_any_writing_order(tmp_path: Path) -> None:
    with TensorFile(tmp_path / "file", layouts_of(TENSORS)) as file:
        for name in reversed(TENSORS):
            file.put(name, TENSORS[name])
    found = load_file(tmp_path / "file")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) and found[name].dtype == TENSORS[name].dtype for name in TENSORS)
    assert all(tensor.data_ptr() % tensor.element_size() == 0 for tensor in found.values())


def test_a_missing_tensor_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="6 tensors were not written"),
        TensorFile(tmp_path / "f", layouts_of(TENSORS)) as file,
    ):
        file.put("odd", TENSORS["odd"])


@pytest.mark.parametrize("other", [torch.zeros(8, dtype=torch.int8), torch.zeros(7)])
def test_a_tensor_that_differs_from_its_layout_is_an_error(other: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="odd is"), TensorFile(tmp_path / "file", layouts_of(TENSORS)) as file:
        file.put("odd", other)


def test_a_file_gets_default_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with TensorFile(tmp_path / "file", {}):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
