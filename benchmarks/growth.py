"""Measure every GET of the API at 10,000, 100,000 and 1,000,000 jobs, on SQLite and Postgres, and name those that grow.

    python -m benchmarks.growth [--database sqlite|postgres] [--rows 10000 100000 1000000] [--rounds 15] [--only TEXT]

The calls are those of the application's route table: a route without a call in benchmarks/get_calls.py is an error. A call
grows when it takes more than 1.5 times its time at the smallest number of rows; the exit status is 1 then. The sizes take
turns call by call, so that other load on the machine affects all of them. The API's caches of a few seconds are off.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

from PIL import Image as Pillow
from sqlalchemy import select

from api.app import create_app
from api.server import make_server
from benchmarks.farm_rows import ANONYMOUS, FarmRows
from benchmarks.get_calls import CALLS, Call, missing_calls
from core.imagefile import ImageMetadata, encode
from core.lifecycle import JobStatus
from core.model_operations import OperationKind
from core.settings import Settings
from core.storage import LocalImageStore
from core.styles import Style
from db.database import Database
from db.migrate import upgrade
from db.model_operations import start
from db.styles import add_style
from db.tables import Batch, Image, Job, Upload
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

FACTOR = 1.5
FLOOR_MS = 1.0
"""A difference of less than this is not called growth: it is noise of the machine."""
REPETITIONS = 4
_CACHES = ("api.overview.FRESH_SECONDS", "api.readiness.FRESH_SECONDS", "api.farm._MEANS_FRESH_SECONDS")


@dataclass(frozen=True)
class Result:
    """Milliseconds of one call by number of jobs, in the order of the sizes."""

    call: Call
    milliseconds: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The largest time, in multiples of the time at the smallest size."""
        return max(self.milliseconds) / self.milliseconds[0]

    @property
    def grows(self) -> bool:
        """Whether the call should take no longer with more jobs, and does."""
        return not self.call.reads_all and self.ratio > FACTOR and max(self.milliseconds) - self.milliseconds[0] > FLOOR_MS


class Farm:
    """An API process's worth of a farm with so many jobs, and a connection to it."""

    def __init__(self, settings: Settings, jobs: int) -> None:
        upgrade(settings.resolved_database_url)
        self.database = Database(settings.resolved_database_url)
        FarmRows(jobs).fill(self.database)
        self._samples = _samples(self.database, settings)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = make_server(settings)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],), daemon=True)
        self._thread.start()
        self._connection = HTTPConnection("127.0.0.1", self._listener.getsockname()[1], timeout=600)

    def milliseconds(self, call: Call) -> float:
        """Make the call once; raise RuntimeError for another status than the expected one."""
        path = call.path.format_map(self._samples)
        try:
            return self._request(path, call.status)
        except RemoteDisconnected:  # the server closes a connection that was idle for long
            self._connection.close()
            return self._request(path, call.status)

    def _request(self, path: str, status: int) -> float:
        started = time.perf_counter()
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read()
        taken = (time.perf_counter() - started) * 1000
        if answer.status != status:
            raise RuntimeError(f"GET {path} answered {answer.status}, not {status}: {body[:500]!r}")
        return taken

    def close(self) -> None:
        """Stop the server and close the database."""
        self._connection.close()
        self._server.should_exit = True
        self._thread.join(30)
        self._listener.close()
        self.database.dispose()


def _samples(database: Database, settings: Settings) -> dict[str, str]:
    """Add what the calls read and the rows lack, and return the ids that their paths name."""
    with database.read() as session:
        image = session.scalars(select(Image).where(Image.owner == ANONYMOUS).order_by(Image.id.desc()).limit(1)).one()
        queued = session.scalars(select(Job.id).where(Job.status == JobStatus.QUEUED).order_by(Job.id).limit(1)).one()
        old = session.scalars(select(Job.id).order_by(Job.id).offset(60).limit(1)).one()
        batch = session.scalars(select(Batch.id).order_by(Batch.id.desc()).limit(1)).one()
        newest = select(Job.created_at).order_by(Job.id.desc()).offset(500).limit(1)
        recent = datetime.fromtimestamp(session.scalar(newest) or 0.0, UTC).isoformat()
        upload = session.scalars(select(Upload).order_by(Upload.id.desc()).limit(1)).one()
    metadata = ImageMetadata(
        prompt="a cat", seed=1, num_inference_steps=8, guidance_scale=1.0, width=64, height=64, model="demo"
    )
    png = encode(Pillow.new("RGB", (64, 64)), metadata)
    LocalImageStore(settings.images_dir).put(image.key, png)
    LocalImageStore(settings.uploads_dir).put(upload.key, png)
    for number in range(20):
        add_style(database, ANONYMOUS, Style(f"style {number}", "{prompt}, in ink"))
    operation = start(database, OperationKind.VERIFY, "demo", ANONYMOUS).operation
    return {
        **{"job": image.job_id, "queued_job": queued, "old_job": old, "image": image.id, "batch": batch},
        **{"upload": upload.id, "operation": operation.id, "recent": quote(recent)},
    }


def measure(farms: Sequence[Farm], rounds: int, calls: Sequence[Call], on_result: Callable[[Result], None]) -> None:
    """Measure the calls, the farms in turns; each farm's time is the shortest of its rounds.

    A call that seems to grow is measured again: noise goes away, growth does not.
    """
    for call in calls:
        shortest = [float("inf")] * len(farms)
        for _ in range(REPETITIONS):
            for _ in range(1 if call.reads_all else rounds):
                shortest = [min(time, farm.milliseconds(call)) for time, farm in zip(shortest, farms, strict=True)]
            if not Result(call, tuple(shortest)).grows:
                break
        on_result(Result(call, tuple(shortest)))


@contextmanager
def uncached() -> Iterator[None]:
    """Let the API read from the database what it otherwise remembers for a few seconds."""
    with ExitStack() as stack:
        for name in _CACHES:
            stack.enter_context(patch(name, 0.0))
        yield


@contextmanager
def farms_of(
    sizes: Sequence[int], directory: Path, redis_url: str, new_database: Callable[[int], str]
) -> Iterator[list[Farm]]:
    """Yield a running farm for each number of jobs."""
    with ExitStack() as stack:
        farms = []
        for size in sizes:
            settings = Settings(
                _env_file=None,
                data_dir=directory / str(size),
                database_url=new_database(size),
                redis_url=redis_url,
                redis_prefix=f"growth-{size}:",
            )
            started = time.perf_counter()
            farms.append(Farm(settings, size))
            stack.callback(farms[-1].close)
            print(f"{size:,} jobs: filled in {time.perf_counter() - started:.0f} s", flush=True)
        yield farms


def report(name: str, sizes: Sequence[int], rounds: int, only: str) -> list[Result]:
    """Print one database's table as it is measured, and return the results."""
    results: list[Result] = []

    def show(result: Result) -> None:
        results.append(result)
        cells = " | ".join(f"{ms:.1f}" for ms in result.milliseconds)
        note = "**grows**" if result.grows else f"reads all: {result.call.reads_all}" if result.call.reads_all else ""
        print(f"| `{result.call.path}` | {cells} | {result.ratio:.2f} | {note} |", flush=True)

    with tempfile.TemporaryDirectory(prefix="imagefarm-growth-") as folder, ExitStack() as stack:
        directory = Path(folder)
        redis = RedisServer(directory / "redis").start()
        stack.callback(redis.stop)
        server = PostgresServer(directory / "pg").start() if name == "postgres" else None
        if server is not None:
            stack.callback(server.stop)

        def new_database(size: int) -> str:
            return server.create_database() if server else f"sqlite:///{directory / f'{size}.db'}"

        farms = stack.enter_context(farms_of(sizes, directory, redis.url, new_database))
        print(f"\n{name}, milliseconds\n\n| call | {' | '.join(f'{size:,}' for size in sizes)} | ratio | |", flush=True)
        print(f"|---{'|---' * (len(sizes) + 2)}|", flush=True)
        stack.enter_context(uncached())
        calls = [call for calls in CALLS.values() for call in calls if only in call.path]
        measure(farms, rounds, calls, show)
    return results


def main() -> int:
    """Print one table per database; return 1 when a call grows, 2 when a route has no call."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"))
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="Only calls whose path contains this text.")
    given = parser.parse_args()
    if missing := missing_calls(create_app(Settings(_env_file=None))):
        print(f"Add a call to benchmarks/get_calls.py for: {', '.join(missing)}")
        return 2
    results = []
    for name in [given.database] if given.database else ["sqlite", "postgres"]:
        results += report(name, given.rows, given.rounds, given.only)
    growing = [result.call.path for result in results if result.grows]
    print(f"\n{len(growing)} of {len(results)} calls grow{': ' + ', '.join(growing) if growing else '.'}")
    return 1 if growing else 0


if __name__ == "__main__":
    sys.exit(main())
