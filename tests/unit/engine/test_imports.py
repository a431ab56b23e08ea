"""The worker's side of the engine does not import torch."""

from __future__ import annotations

import subprocess
import sys


def test_the_client_imports_no_torch() -> None:
    code = "import sys, worker.engine.client; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_engine_process_sends_its_first_message_before_it_imports_torch() -> None:
    code = "import sys, worker.engine.process; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
