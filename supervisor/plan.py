"""List the processes of a farm with their commands and environments."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from core.child_python import module_command
from core.ids import new_id
from core.queue import UPSCALE
from core.settings import Settings
from supervisor.child import ChildSpec

log = logging.getLogger(__name__)
_UUID = re.compile(r"\(UUID: ((?:GPU|MIG)-[^)\s]+)\)")
"""In the lines of `nvidia-smi -L`."""
KILL_MARGIN_SECONDS = 15.0
"""A worker gets this long after its drain time to store results and requeue jobs before it is killed."""


@dataclass(frozen=True)
class Addresses:
    """Addresses of this farm's processes. `redis_url` may contain a password: do not print it."""

    api_host: str
    api_port: int
    flower_host: str
    flower_port: int
    redis_url: str

    @property
    def api(self) -> str:
        return f"http://{_reachable(self.api_host)}:{self.api_port}"

    @property
    def flower(self) -> str:
        return f"http://{_reachable(self.flower_host)}:{self.flower_port}"


def children(settings: Settings, addresses: Addresses) -> list[ChildSpec]:
    """Return every process except Redis, in start order: workers first, whose engines take longest."""
    shared = _environment(settings, addresses)
    return [
        *_workers(settings, shared),
        ChildSpec("api", command("api"), shared, part="api"),
        *_upscaling_workers(settings, shared),
        ChildSpec("reaper", command("reaper"), shared, part="reaper", waits_for_api=True),
        ChildSpec("flower", command("flower"), shared, part="flower", waits_for_api=True),
    ]


def command(*words: str) -> tuple[str, ...]:
    return tuple(module_command("cli.part", *words))


def _environment(settings: Settings, addresses: Addresses) -> dict[str, str]:
    """Return the settings that options, free ports and embedded servers determine; children inherit the others."""
    return {
        "IMAGEFARM_DATA_DIR": str(settings.data_dir),
        "IMAGEFARM_DATABASE_URL": settings.resolved_database_url,
        "IMAGEFARM_REDIS_URL": addresses.redis_url,
        "IMAGEFARM_HOST": addresses.api_host,
        "IMAGEFARM_PORT": str(addresses.api_port),
        "IMAGEFARM_FLOWER_HOST": addresses.flower_host,
        "IMAGEFARM_FLOWER_PORT": str(addresses.flower_port),
        "IMAGEFARM_MODEL": settings.model,
        "IMAGEFARM_DEVICE": settings.device,
    }


def _workers(settings: Settings, shared: dict[str, str]) -> list[ChildSpec]:
    name = settings.worker_name or f"{socket.gethostname()}-{_node(settings.data_dir)}"
    cards = visible_cards() if settings.device == "auto" else []
    specs = []
    for index in range(settings.workers):
        environment = {"IMAGEFARM_WORKER_NAME": f"{name}-{index + 1}"}
        if settings.workers > 1 and cards:
            environment["CUDA_VISIBLE_DEVICES"] = cards[index % len(cards)]
        elif settings.workers > 1 and "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // settings.workers))
        label = "worker" if settings.workers == 1 else f"worker-{index + 1}"
        stop_seconds = settings.drain_seconds + KILL_MARGIN_SECONDS
        child = ChildSpec(label, command("worker"), shared | environment, part="worker", stop_seconds=stop_seconds)
        specs.append(child)
    return specs


def _upscaling_workers(settings: Settings, shared: dict[str, str]) -> list[ChildSpec]:
    """Return the workers that enlarge images; a farm without render workers here has its upscaling ones elsewhere, too."""
    if not settings.workers:
        return []
    name = settings.worker_name or f"{socket.gethostname()}-{_node(settings.data_dir)}"
    specs = []
    for index in range(settings.upscale_workers):
        number = "" if settings.upscale_workers == 1 else f"-{index + 1}"
        environment = {"IMAGEFARM_WORKER_NAME": f"{name}-upscale{number}", "IMAGEFARM_MODEL": UPSCALE}
        on_demand = settings.upscaler_idle_minutes > 0
        specs.append(
            ChildSpec(
                f"upscaler{number}",
                command("upscaler" if on_demand else "worker"),
                shared | environment,
                stop_seconds=settings.drain_seconds + KILL_MARGIN_SECONDS,
                on_demand=on_demand,
            )
        )
    return specs


def _node(data_dir: Path) -> str:
    """Return four letters that distinguish farms on one host, stored with the data so that workers keep their names."""
    file = data_dir / "node"
    try:
        return file.read_text().strip()
    except OSError:
        file.write_text(new_id()[-4:])
        return file.read_text()


def visible_cards() -> list[str]:
    """Return a value for CUDA_VISIBLE_DEVICES per card, in the order of nvidia-smi, without importing torch.

    Values are UUIDs: CUDA numbers cards from the fastest on, nvidia-smi by their place. A card that is divided (MIG) counts
    as its parts.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:  # CUDA ignores the first value that names no card, such as -1, and all behind it.
        return list(takewhile(_names_a_card, (value.strip() for value in chosen.split(","))))
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        run = subprocess.run([tool, "-L"], capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("nvidia-smi does not list the GPUs: %s", error)
        return []
    found: list[str] = []
    for uuid in _UUID.findall(run.stdout):
        if uuid.startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()  # Listed just before its parts.
        found.append(uuid)
    if not found:  # Some, such as those of Jetson boards, have other ids: their numbers are the best that there is.
        found = re.findall(r"^GPU (\d+):", run.stdout, re.MULTILINE)
    return found


def _names_a_card(value: str) -> bool:
    return value.isdecimal() or value.startswith(("GPU-", "MIG-"))


def _reachable(host: str) -> str:
    """Return a host name that a browser on this machine can open."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 -- compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
