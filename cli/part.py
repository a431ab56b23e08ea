"""Run one part of a farm, as `imagefarm up` starts it: without the other commands, whose modules take time and memory."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Mapping

from cli.exit_codes import run_guarded
from cli.load_settings import load_private_settings
from cli.text_streams import print_any_text, restart_in_utf8
from core.extras import import_without, require_extras
from core.settings import Settings


def api(settings: Settings) -> int:
    """Serve the HTTP API and the page."""
    require_extras("server")
    import_without("httpcore", "trio")  # another event loop than asyncio
    import_without("httpx", "rich")  # httpx as a command
    from cli.serve import serve_api

    return serve_api(settings)


def worker(settings: Settings) -> int:
    """Render jobs."""
    return _work(settings)


def upscaler(settings: Settings) -> int:
    """Enlarge images until no job came for a while: `imagefarm up` starts it again when one does."""
    return _work(settings, settings.upscaler_idle_minutes * 60)


def _work(settings: Settings, stop_idle_seconds: float = 0.0) -> int:
    require_extras("worker")
    from worker.engine.early_start import start_early

    start_early(settings)
    from worker.worker_process import run

    return run(settings, stop_idle_seconds)


def reaper(settings: Settings) -> int:
    """Requeue jobs of lost workers and republish lost hints."""
    require_extras("server")
    from worker.reaper.main import run

    return run(settings)


def flower(settings: Settings) -> int:
    """Run Flower, Celery's monitor, on the farm's queue."""
    require_extras("server")
    from supervisor.flower.main import run

    return run(settings)


PARTS: Mapping[str, Callable[[Settings], int]] = {
    "api": api,
    "worker": worker,
    "upscaler": upscaler,
    "reaper": reaper,
    "flower": flower,
}


def main(name: str) -> int:
    """Run the part of that name with the settings of the environment; return the exit code and never raise."""
    restart_in_utf8()
    print_any_text()
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # `imagefarm up` has reported odd lines of .env
    import_without("redis", "opentelemetry.sdk.metrics")  # 3 MiB; redis-py counts nothing unless asked to
    return run_guarded(lambda: PARTS[name](load_private_settings()))


if __name__ == "__main__":
    gc.disable()  # A tenth of the time of imports; the parts enable it again by `collect_from_now`.
    sys.exit(main(sys.argv[1]))
