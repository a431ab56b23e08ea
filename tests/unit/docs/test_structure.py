"""scripts/structure.py counts modules as its head describes."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.docs.pages import ROOT

FILES = {
    "api/__init__.py": 1,
    "api/jobs.py": 10,
    "api/routes/jobs.py": 40,
    "core/jobs.py": 50,
    "scripts/jobs.py": 5,
    "tests/jobs.py": 5,
    "worker/engine/loop.py": 100,
}


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    sys.modules.pop("structure", None)
    return runpy.run_path(str(ROOT / "scripts" / "structure.py"), run_name=__name__)


def test_modules_lengths_and_duplicate_stems(script: dict[str, Any], tmp_path: Path) -> None:
    for name, lines in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("pass\n" * lines)
    figures = script["measure"](tmp_path, "before", with_job=False)
    assert figures.duplicates == {"api/jobs": ["api/jobs.py", "api/routes/jobs.py"]}
    assert list(figures.rows().values()) == ["4", "45", "100", "1", "1", "2"]
    assert script["_table"]([figures]).startswith("| | before |\n|---|---|\n| modules without `__init__` | 4 |\n")


def test_only_functions_of_processes_on_the_way_count(script: dict[str, Any], tmp_path: Path) -> None:
    called = [
        [f"{tmp_path}/db/jobs/claim.py", 3, "claim_many", False],
        [f"{tmp_path}/api/metrics.py", 3, "counted", True],
        [f"{tmp_path}/db/sql.py", 0, "<module>", False],
        ["/usr/lib/json.py", 3, "load", False],
    ]
    claim, counted = ("db/jobs/claim.py", "claim_many"), ("api/metrics.py", "counted")
    for word, expected in (("worker.engine", [claim, counted]), ("api", [claim, counted]), ("reaper", [])):
        report = json.loads(json.dumps({"command": ["python", "-m", "cli", word], "called": called}))
        assert list(script["_entered"](report, tmp_path)) == expected
        assert list(script["_entered"](report, tmp_path, with_any_request=False)) == expected[:1]
