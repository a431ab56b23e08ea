"""How a refinement starts from its parent; without pydantic, for the command line."""

from __future__ import annotations

from enum import StrEnum


class RefineMode(StrEnum):
    """`hires`: from its enlarged pixels; `coherent`: from noise that follows its noise; `same_seed`: from its seed."""

    HIRES = "hires"
    COHERENT = "coherent"
    SAME_SEED = "same_seed"
