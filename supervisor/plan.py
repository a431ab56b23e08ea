"""Which processes a farm consists of, with their commands and environment."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from core.ids import new_id
from core.settings import Settings
from supervisor.child import ChildSpec

KILL_MARGIN_SECONDS = 15.0
"""Past its drain time, a worker still stores and gives back before it is killed."""


@dataclass(frozen=True)
class Addresses:
    """Where the parts of this farm are; `redis_url` may carry a password and is not for printing."""

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
    """Every process but Redis, in the order in which they start."""
    shared = _environment(settings, addresses)
    return [
        ChildSpec("api", _command("api"), shared),
        *_workers(settings, shared),
        ChildSpec("reaper", _command("reaper"), shared),
        ChildSpec("flower", _command("flower"), shared),
    ]


def _command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "cli", *words)


def _environment(settings: Settings, addresses: Addresses) -> dict[str, str]:
    """What the command line, the free ports and the embedded servers decided; all else comes from the environment."""
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
    cards = _visible_cards() if settings.device == "auto" else []
    specs = []
    for index in range(settings.workers):
        own = {"IMAGEFARM_WORKER_NAME": f"{name}-{index + 1}"}
        if settings.workers > 1 and cards:
            own["CUDA_VISIBLE_DEVICES"] = cards[index % len(cards)]
        elif settings.workers > 1 and "OMP_NUM_THREADS" not in os.environ:
            own["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // settings.workers))
        label = "worker" if settings.workers == 1 else f"worker-{index + 1}"
        stop_seconds = settings.drain_seconds + KILL_MARGIN_SECONDS
        specs.append(ChildSpec(label, _command("worker"), shared | own, stop_seconds=stop_seconds))
    return specs


def _node(data_dir: Path) -> str:
    """Four letters that tell farms on one host apart, kept with the data so that workers' names come back."""
    note = data_dir / "node"
    try:
        return note.read_text().strip()
    except OSError:
        note.write_text(new_id()[-4:])
        return note.read_text()


def _visible_cards() -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES, one for each card; found without importing torch."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [card.strip() for card in chosen.split(",") if card.strip()]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    listed = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, timeout=30)
    return [str(index) for index, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def _reachable(host: str) -> str:
    """An address to type into a browser on this machine."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 -- compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
