"""The estimate learns from peaks: quickly upwards, slowly downwards, within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.memory.coefficients import ESTIMATE_VERSION, FILE_NAME, MAX_COEFFICIENT, Coefficients

KEY = ("z-image-turbo", "resident", "H200")


def test_without_records_the_coefficient_is_one(tmp_path: Path) -> None:
    assert Coefficients(tmp_path).get(*KEY) == 1.0


def test_the_first_peak_counts_in_full_and_is_saved(tmp_path: Path) -> None:
    Coefficients(tmp_path / "new").record(*KEY, estimated=100, measured=80)
    assert Coefficients(tmp_path / "new").get(*KEY) == pytest.approx(0.8)
    assert Coefficients(tmp_path / "new").get("z-image-turbo", "int8", "H200") == 1.0


def test_coefficients_rise_at_once_and_fall_slowly(tmp_path: Path) -> None:
    learned = Coefficients(tmp_path)
    learned.record(*KEY, estimated=100, measured=80)
    assert learned.record(*KEY, estimated=100, measured=130) == pytest.approx(1.3)
    assert learned.record(*KEY, estimated=100, measured=80) == pytest.approx(1.25)


def test_invalid_measurements_are_ignored_or_clamped(tmp_path: Path) -> None:
    learned = Coefficients(tmp_path)
    assert learned.record(*KEY, estimated=0, measured=10) == 1.0
    assert learned.record(*KEY, estimated=1, measured=10**9) == MAX_COEFFICIENT


@pytest.mark.parametrize("text", ["{", "[]", '{"estimate": 2}', '{"estimate": 2, "coefficients": [1]}'])
def test_a_damaged_file_counts_as_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    assert Coefficients(tmp_path).get(*KEY) == 1.0


def test_coefficients_of_another_estimate_are_ignored(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"z-image-turbo|resident|H200": 3.0}')  # The format without an estimate's number.
    assert Coefficients(tmp_path).get(*KEY) == 1.0
    Coefficients(tmp_path).record(*KEY, estimated=100, measured=80)
    text = (tmp_path / FILE_NAME).read_text()
    (tmp_path / FILE_NAME).write_text(text.replace(f'"estimate": {ESTIMATE_VERSION}', f'"estimate": {ESTIMATE_VERSION + 1}'))
    assert Coefficients(tmp_path).get(*KEY) == 1.0
    (tmp_path / FILE_NAME).write_text(text)
    assert Coefficients(tmp_path).get(*KEY) == pytest.approx(0.8)
