"""Pause, resume and drain workers."""

from __future__ import annotations

from urllib.parse import quote

from core.schemas.workers import Worker
from imagefarm.transport import Transport

PATH = "/v1/workers"


class WorkerManagement:
    """The calls that change workers, as `ImageFarm.worker_management`. They need the scope admin and raise NotFound."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def pause(self, name: str) -> Worker:
        """Let a worker finish its jobs and claim no others until it is resumed."""
        return self._post(name, "pause")

    def resume(self, name: str) -> Worker:
        """Let a worker claim jobs again."""
        return self._post(name, "resume")

    def drain(self, name: str) -> Worker:
        """Let a worker finish its jobs, then stop."""
        return self._post(name, "drain")

    def _post(self, name: str, action: str) -> Worker:
        return self._transport.read(Worker, "POST", f"{PATH}/{quote(name, safe='')}/{action}")
