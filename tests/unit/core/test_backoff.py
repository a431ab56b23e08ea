"""Capped exponential backoff."""

from __future__ import annotations

import re

import pytest

from core.backoff import backoff_seconds
from core.retries import BACKOFF_CAP_SECONDS, RetryRule
from core.retries import backoff_seconds as attempt_backoff_seconds
from tests.servers.farm import ROOT


def test_the_pause_doubles_up_to_the_cap() -> None:
    assert [backoff_seconds(failures, 0.5, 5.0) for failures in range(6)] == [0.5, 0.5, 1.0, 2.0, 4.0, 5.0]


@pytest.mark.parametrize("failures", [1_025, 10**9])
def test_any_number_of_failures_gives_the_cap(failures: int) -> None:
    assert backoff_seconds(failures, 0.5, 30.0) == 30.0
    assert attempt_backoff_seconds(RetryRule(retry=True, base_seconds=0.5), failures) == BACKOFF_CAP_SECONDS


def test_no_other_module_doubles_a_pause_by_itself() -> None:
    packages = ("api", "app", "cli", "core", "db", "imagefarm", "storage", "supervisor", "worker")
    files = [file for package in packages for file in (ROOT / package).rglob("*.py") if file.name != "backoff.py"]
    found = [file for file in files if re.search(r"\b2(\.0)? ?\*\* ?\(?[a-z_(]", file.read_text())]
    assert not found, "use core.backoff: 0.5 * 2**n overflows after 1,024 failures"
