"""Run one part of a farm, as `imagefarm up` starts it: without the other commands, whose modules take time and memory."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping

from cli import processes
from cli.exit_codes import run_guarded
from cli.options import load_private_settings
from cli.text_streams import print_any_text, restart_in_utf8
from core.extras import import_without


def upscaler() -> int:
    """Enlarge images until no job came for a while: `imagefarm up` starts it again when one does."""
    from worker.worker_process import run

    settings = load_private_settings()
    return run(settings, stop_idle_seconds=settings.upscaler_idle_minutes * 60)


PARTS: Mapping[str, Callable[[], int]] = {
    "api": processes.api,
    "worker": processes.worker,
    "upscaler": upscaler,
    "reaper": processes.reaper,
    "flower": processes.flower,
}


def main(name: str) -> int:
    """Run the part of that name with the settings of the environment; return the exit code and never raise."""
    restart_in_utf8()
    print_any_text()
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # `imagefarm up` has reported odd lines of .env
    import_without("redis", "opentelemetry.sdk.metrics")  # 3 MiB; redis-py counts nothing unless asked to
    return run_guarded(PARTS[name])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
