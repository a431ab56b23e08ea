"""Import of the application."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
import api.app, api.server
heavy = {"torch", "diffusers", "transformers", "worker"} & {name.partition(".")[0] for name in sys.modules}
sys.exit(", ".join(sorted(heavy)) or 0)
"""


def test_importing_the_api_loads_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
