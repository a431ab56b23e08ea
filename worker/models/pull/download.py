"""Download files so that an interrupted download resumes, even in another process. See decision 12."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import httpx

from core.backoff import backoff_seconds
from core.errors import FarmError, Forbidden, Unavailable
from worker.models.pull.progress import Meter
from worker.models.pull.repository import Hub, RemoteFile, RemoteRepo, unreachable

CONCURRENT_FILES = 4
MAX_TRIES = 6
"""Give up on a file after this many consecutive tries without a new byte."""
PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0
"""Before the first retry; doubles with each."""
PARTIAL_CONTENT = 206


@dataclass(frozen=True)
class Download:
    """Downloads files of one repository into one folder; partial files survive the process, unlike huggingface_hub's."""

    hub: Hub
    repo: RemoteRepo
    folder: Path

    def missing_bytes(self, files: Sequence[RemoteFile]) -> int:
        """Return the bytes still to be downloaded; bytes of partial files on disk are not counted."""
        return sum(max(file.size - self._bytes_on_disk(file), 0) for file in files)

    def run(self, files: Sequence[RemoteFile], meter: Meter) -> None:
        """Download all files, a few at a time; the first failure stops the rest and is raised. Partial files stay."""
        stop = threading.Event()
        with httpx.Client(headers=self.hub.headers(), follow_redirects=True, timeout=30.0) as client:
            with ThreadPoolExecutor(CONCURRENT_FILES, thread_name_prefix="download") as pool:
                jobs = [pool.submit(self._fetch, client, file, meter, stop) for file in files]
                try:
                    wait(jobs, return_when=FIRST_EXCEPTION)
                finally:
                    stop.set()  # Also on Ctrl-C: threads end at their next chunk.
            for job in jobs:
                job.result()

    def _target(self, file: RemoteFile) -> Path:
        target = (self.folder / file.path).resolve()
        if not target.is_relative_to(self.folder.resolve()):
            raise Forbidden(f"The repository lists a file outside its folder: {file.path}", code="hub_refused")
        return target

    def _part(self, file: RemoteFile) -> Path:
        target = self._target(file)
        return target.with_name(target.name + ".part")

    def _bytes_on_disk(self, file: RemoteFile) -> int:
        for path in (self._target(file), self._part(file)):
            if path.is_file():
                return path.stat().st_size
        return 0

    def _fetch(self, client: httpx.Client, file: RemoteFile, meter: Meter, stop: threading.Event) -> None:
        target, part = self._target(file), self._part(file)
        if target.is_file() and target.stat().st_size == file.size:
            meter.add(file.size, file.path)
            return
        part.parent.mkdir(parents=True, exist_ok=True)
        meter.add(self._bytes_on_disk(file), file.path)
        failures = 0
        while not stop.is_set():
            before = self._bytes_on_disk(file)
            try:
                if self._stream(client, file, meter, stop):
                    self._finish(file, meter)
                    return
                why = "the response ended early"
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
            failures = 1 if self._bytes_on_disk(file) > before else failures + 1
            if failures >= MAX_TRIES:
                raise unreachable(f"{file.path}: {why}")
            stop.wait(backoff_seconds(failures, PAUSE_SECONDS, MAX_PAUSE_SECONDS))

    def _stream(self, client: httpx.Client, file: RemoteFile, meter: Meter, stop: threading.Event) -> bool:
        """Append to the partial file; return True once it has its full size."""
        part = self._part(file)
        start = self._bytes_on_disk(file)
        if start >= file.size:
            part.touch()
            return True
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with client.stream("GET", self.hub.url(self.repo, file.path), headers=headers) as response:
            _check(response, file)
            resumed = response.status_code == PARTIAL_CONTENT
            if start and not resumed:
                meter.add(-start, file.path)
            with part.open("ab" if resumed else "wb") as out:
                for chunk in response.iter_raw():
                    out.write(chunk)
                    meter.add(len(chunk), file.path)
                    if stop.is_set():
                        return False
        return part.stat().st_size >= file.size

    def _finish(self, file: RemoteFile, meter: Meter) -> None:
        """Verify the partial file and rename it; delete one whose size or sha256 differs from the hub's."""
        part = self._part(file)
        size = part.stat().st_size
        if size == file.size and (file.sha256 is None or sha256_of(part) == file.sha256):
            part.replace(self._target(file))
            return
        part.unlink()
        meter.add(-size, file.path)
        raise Unavailable(
            f"{file.path} arrived damaged and was deleted; run the same command again.", code="hub_unavailable"
        )


def _check(response: httpx.Response, file: RemoteFile) -> None:
    """Raise a FarmError for permanent refusals, httpx.HTTPStatusError for errors worth a retry."""
    if response.status_code in (401, 403):
        raise Forbidden(
            f"The hub refuses {file.path}: accept the model's licence there, then run `hf auth login` or set HF_TOKEN.",
            code="hub_refused",
        )
    if response.status_code in (404, 410):
        raise FarmError(f"The hub no longer has {file.path}.", code="hub_not_found")
    response.raise_for_status()


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
