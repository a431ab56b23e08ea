"""Whether the farm takes jobs and renders them: each part is tried with a write, within a bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from api.threads import in_thread
from core.errors import FarmError
from core.schemas.farm import Check
from core.schemas.farm import Readiness as ReadinessAnswer
from core.storage import ImageStore, LocalImageStore
from core.storage.local import describe_os_error
from core.storage.probe import probe_folder
from db.probe import check_file, file_identity, probe_write

if TYPE_CHECKING:
    from api.farm import Farm

PROBE_SECONDS = 3.0
"""A part that takes longer counts as not working."""
FRESH_SECONDS = 3.0
_REQUIRED = frozenset({"database", "uploads"})
"""Parts without which submits fail; without the others jobs are accepted and kept."""


class Readiness:
    """Checks of one API process, remembered for a few seconds."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._opened = file_identity(farm.database)
        self._seen: set[Path] = set()
        self._running: dict[str, asyncio.Task[Check]] = {}
        self._answer: tuple[float, ReadinessAnswer] | None = None

    async def check(self) -> ReadinessAnswer:
        """Return the state of all parts, at most a few seconds old."""
        if self._answer is not None and time.monotonic() - self._answer[0] < FRESH_SECONDS:
            return self._answer[1]
        parts: dict[str, Callable[[], Awaitable[Check]]] = {
            "database": self._database,
            "images": lambda: self._store(self._farm.store, "Images cannot be stored: jobs are accepted and wait."),
            "uploads": lambda: self._store(self._farm.uploads, "Jobs with an image cannot be submitted."),
            "redis": self._redis,
            "workers": self._workers,
        }
        found = await asyncio.gather(*(self._bounded(name, part) for name, part in parts.items()))
        checks = dict(zip(parts, found, strict=True))
        failed = {name for name, check in checks.items() if not check.ok}
        answer = ReadinessAnswer(
            status="unready" if failed & _REQUIRED else "degraded" if failed else "ready", checks=checks
        )
        self._answer = time.monotonic(), answer
        return answer

    async def _bounded(self, name: str, part: Callable[[], Awaitable[Check]]) -> Check:
        """Run a check, or wait on with the one that hangs: each part takes one thread at most."""
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.ensure_future(part())
            task.add_done_callback(lambda _: self._running.pop(name, None))
        done, _ = await asyncio.wait({task}, timeout=PROBE_SECONDS)
        if not done:
            return Check(ok=False, detail=f"It did not answer within {PROBE_SECONDS:g} s.")
        if (error := task.exception()) is not None:
            return Check(ok=False, detail=f"It could not be checked ({type(error).__name__}: {error}).")
        return task.result()

    async def _database(self) -> Check:
        def probe() -> None:
            check_file(self._farm.database, self._opened)
            probe_write(self._farm.database)
            self._opened = self._opened or file_identity(self._farm.database)

        try:
            await in_thread(probe)
        except FarmError as error:
            return Check(ok=False, detail=error.message)
        except Exception as error:  # noqa: BLE001 -- a health check reports any error
            return Check(
                ok=False,
                detail=f"The tables do not have the expected form ({type(error).__name__}): run `imagefarm db upgrade`.",
            )
        return Check(ok=True, detail="takes writes")

    async def _store(self, store: ImageStore, consequence: str) -> Check:
        if isinstance(store, LocalImageStore):
            return await self._folder(store.root, consequence)
        try:
            await in_thread(store.check_writable)
        except FarmError as error:
            return Check(ok=False, detail=f"{error.message} {consequence}")
        return Check(ok=True, detail="takes files")

    async def _folder(self, root: Path, consequence: str) -> Check:
        def probe() -> None:
            if root in self._seen and not root.is_dir():
                raise FileNotFoundError(0, "it was deleted while the farm was running; put it back")
            probe_folder(root)
            if root.is_dir():
                self._seen.add(root)

        try:
            await in_thread(probe)
        except OSError as error:
            return Check(ok=False, detail=f"The folder does not take files: {describe_os_error(error)}. {consequence}")
        return Check(ok=True, detail="takes files")

    async def _redis(self) -> Check:
        trouble = await self._farm.watcher.probe_write()
        if trouble is None:
            return Check(ok=True, detail="takes writes")
        return Check(ok=False, detail=f"{trouble} Jobs are accepted and kept, and run once it is back.")

    async def _workers(self) -> Check:
        try:
            overview = await self._farm.overview.get()
        except FarmError:
            return Check(ok=False, detail="unknown while the database does not answer")
        ready = [worker.name for worker in overview.live if worker.state in ("ready", "unloaded")]
        if ready:
            return Check(ok=True, detail=f"ready: {', '.join(ready)}")
        if overview.live:
            return Check(ok=False, detail=f"not ready yet: {', '.join(worker.name for worker in overview.live)}")
        return Check(ok=False, detail="No worker is up: jobs are accepted and kept.")
