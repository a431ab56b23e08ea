"""Run one part of a farm, as `imagefarm up` starts it: without the other commands, whose modules take time and memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from cli import processes
from cli.exit_codes import run_guarded
from cli.text_streams import print_any_text, restart_in_utf8

PARTS: Mapping[str, Callable[[], int]] = {
    "api": processes.api,
    "worker": processes.worker,
    "reaper": processes.reaper,
    "flower": processes.flower,
}


def main(name: str) -> int:
    """Run the part of that name with the settings of the environment; return the exit code and never raise."""
    restart_in_utf8()
    print_any_text()
    return run_guarded(PARTS[name])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
