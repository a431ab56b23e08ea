"""Packages are imported without optional modules, and these stay importable; each case has a process of its own."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_redis_is_imported_without_metrics_which_stay_importable() -> None:
    code = (
        "import sys; from core.extras import import_without\n"
        "import_without('redis', 'opentelemetry.sdk.metrics')\n"
        "print('redis' in sys.modules, 'opentelemetry.sdk.metrics' in sys.modules)\n"
        "import opentelemetry.sdk.metrics; from redis import Redis; Redis()"
    )
    assert run(code) == "True False"


def test_parts_of_a_farm_run_without_metrics() -> None:
    code = (
        "import sys; from unittest.mock import patch; from cli import part\n"
        "assert 'redis' not in sys.modules\n"
        "def api(settings): import redis; print('opentelemetry.sdk.metrics' in sys.modules); return 0\n"
        "with patch.dict(part.PARTS, api=api): part.main('api')"
    )
    assert run(code) == "False"


def test_nothing_changes_for_what_is_imported_already() -> None:
    code = (
        "import sys, json; from core.extras import import_without\n"
        "import_without('csv', 'json'); print('csv' in sys.modules, sys.modules['json'] is json)"
    )
    assert run(code) == "False True"
