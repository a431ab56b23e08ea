"""The code blocks of docs/guides/python-client.md run unchanged."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.parts import FarmParts
from tests.servers.farm import ROOT, clean_environment

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "guides" / "python-client.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_the_page_has_code_blocks() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_each_block_runs(running: FarmParts, tmp_path: Path, block: str) -> None:
    environment = clean_environment(IMAGEFARM_URL=running.url)
    command = [sys.executable, "-W", "error", "-c", block]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "outputs" in {path.name for path in tmp_path.iterdir()}
