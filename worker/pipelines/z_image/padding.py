"""Rows of different lengths as one batch, as the stock Z-Image transformer pads and masks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class Batch:
    """`hidden`: rows x tokens x channels; `positions` likewise; `mask`: rows x tokens, None where all are equally long."""

    hidden: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor | None


def as_batch(rows: Sequence[torch.Tensor], positions: Sequence[torch.Tensor]) -> Batch:
    """`rows`: each tokens x channels; `positions`: of each row, as `Context` has them."""
    lengths = [len(row) for row in rows]
    if len(set(lengths)) == 1:
        return Batch(_stacked(rows), _stacked(positions), None)
    mask = torch.zeros((len(rows), max(lengths)), dtype=torch.bool, device=rows[0].device)
    for index, length in enumerate(lengths):
        mask[index, :length] = True
    return Batch(pad_sequence(list(rows), batch_first=True), pad_sequence(list(positions), batch_first=True), mask)


def _stacked(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """A single one is not copied."""
    return torch.stack(list(rows)) if len(rows) > 1 else rows[0].unsqueeze(0)
