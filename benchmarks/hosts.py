"""Break a farm of four hosts on this machine: the network between them, their power, disks and servers; count what is lost.

    python -m benchmarks.hosts
    python -m benchmarks.hosts --only "cut off a worker host" --only "bucket hangs"

Hosts are network namespaces with their own addresses, host names and process ids: a control host with API, reaper, Redis and
Postgres with passwords, and an S3 server, and three worker hosts that join by the line of `imagefarm join-command`. Only the
images are synthetic. It needs root. Exit status 1 when a guarantee was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.faults.audit import Findings, audit, wait_settled
from benchmarks.faults.host_faults import FAULTS, IDLE_BY_FAULT, UPGRADE, Fault, hit_host
from benchmarks.faults.idle_times import longest_idle_seconds
from benchmarks.faults.submitter import Submitter
from core.settings import Settings
from db.database import Database
from db.tables import Attempt
from storage.stores import open_images
from tests.servers.network.farm import HostedFarm
from tests.servers.network.hosts import running_network
from tests.servers.network.last_release_farm import LastReleaseFarm

STEP_SECONDS, STEPS = 0.1, 10
SETTLE_SECONDS = 240.0
LEAD_SECONDS = 2.0
"""Of jobs before the fault."""


@dataclass(frozen=True)
class Result:
    """One scenario. `idle`: the longest time for which a worker that no fault hit had no job while one waited.

    `back`: seconds from the end of the fault to the next claim of the host that it hit, None where it hit none or where none
    was left to claim. `findings` cover all jobs of the farm up to now.
    """

    name: str
    jobs: int
    seconds: float
    retries: int
    other_answers: list[str]
    attempts_again: int
    idle: float | None
    back: float | None
    findings: Findings


@dataclass
class Scenarios:
    """Runs faults one after the other on one farm."""

    farm: HostedFarm
    per_second: float
    database: Database
    accepted: list[str] = field(default_factory=list)
    attempts_before: int = 0

    def run(self, name: str, fault: Fault, seconds: float) -> Result:
        """Break it for `seconds` while jobs arrive, wait until all jobs have settled, and audit."""
        farm = self.farm
        count = int(self.per_second * (seconds + 2 * LEAD_SECONDS))
        started = time.monotonic()
        farm.replaced.clear()
        submitter = Submitter(farm.url, count, self.per_second, STEPS, prefix=name.replace(" ", "-"))
        thread = submitter.start()
        time.sleep(LEAD_SECONDS)
        broken_at = time.time()
        with fault(farm, seconds):
            time.sleep(seconds)
            healing_at = time.time()
        thread.join()
        self.accepted += submitter.accepted.values()
        wait_settled(self.database, self.accepted, SETTLE_SECONDS)
        farm.wait_workers_ready(len(farm.workers))
        findings = self._audit(submitter.conflicting_answers)
        idle = longest_idle_seconds(self.database, self._others(name), (broken_at, healing_at), farm.replaced)
        again = findings.attempts - len(self.accepted) - self.attempts_before
        self.attempts_before += again
        return Result(
            name,
            len(submitter.accepted),
            round(time.monotonic() - started, 1),
            submitter.retries,
            submitter.other_answers[:3],
            again,
            max(idle.values()) if idle else None,
            self._back(healing_at),
            findings,
        )

    def _others(self, name: str) -> list[str]:
        """Return the workers that the fault lets work; those that it replaces in turn, too."""
        if name in IDLE_BY_FAULT or "random" in name:
            return []
        hit = None if self.farm.replaced else hit_host(self.farm)
        return [f"{host.name}-cpu" for host in self.farm.workers if host is not hit]

    def _back(self, healed_at: float) -> float | None:
        first = select(func.min(Attempt.started_at)).where(
            Attempt.worker == f"{hit_host(self.farm).name}-cpu", Attempt.started_at > healed_at
        )
        with self.database.read() as session:
            found = session.scalar(first)
        return None if found is None else round(found - healed_at, 2)

    def _audit(self, violations: int) -> Findings:
        images = open_images(Settings(storage_url=self.farm.storage_url))
        kept = set(images.iter_keys())
        return audit(self.database, kept.__contains__, self.accepted, [], [], violations)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Yield a folder on a disk of its own that is soon full."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=0777", "imagefarm-hosts", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@contextmanager
def running_farm(directory: Path, kind: type[HostedFarm] = HostedFarm) -> Iterator[HostedFarm]:
    """Yield a farm with small disks: one for a worker's data, one for Postgres and Redis."""
    with small_disk(directory / "disk") as disk, running_network(directory) as network:
        settings = {
            "IMAGEFARM_SYNTHETIC_STEP_SECONDS": str(STEP_SECONDS),
            "IMAGEFARM_MAX_QUEUED_PER_OWNER": "0",
        }
        farm = kind(network, settings=settings, disk=disk)
        hit_host(farm).give_small_disk(hit_host(farm).directory / "data", "2m")
        yield farm.start()


def main() -> int:
    """Print a row for each fault, then all findings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(FAULTS), help="run these faults only")
    parser.add_argument("--per-second", type=float, default=12.0)
    parser.add_argument("--json", type=Path, help="write the findings to this file too")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing of the hosts is left
    names = given.only or list(FAULTS)
    results = run_all([name for name in names if name != UPGRADE], HostedFarm, given.per_second)
    results += run_all([name for name in names if name == UPGRADE], LastReleaseFarm, given.per_second)
    text = json.dumps([asdict(result) for result in results], indent=2)
    if given.json:
        given.json.write_text(text, encoding="utf-8")
    broken = {result.name: result.findings.failures() for result in results if result.findings.failures()}
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"load averages: {load}")
    print("GUARANTEES BROKEN: " + json.dumps(broken) if broken else "all guarantees held")
    return 1 if broken else 0


def run_all(names: list[str], kind: type[HostedFarm], per_second: float) -> list[Result]:
    """Run these faults one after the other on one farm of this kind, and print a row for each."""
    results: list[Result] = []
    if not names:
        return results
    with tempfile.TemporaryDirectory(prefix="imagefarm-hosts-") as directory, running_farm(Path(directory), kind) as farm:
        database = farm.database()
        scenarios = Scenarios(farm, per_second, database)
        for name in names:
            results.append(scenarios.run(name, *FAULTS[name]))
            print(row(results[-1]), flush=True)
        database.dispose()
    return results


def row(result: Result) -> str:
    """Return a line of the table."""
    found = result.findings
    duplicates = found.duplicate_image_rows + found.duplicate_terminal_transitions
    zeros = f"lost {found.lost}, duplicates {duplicates}, held {found.held}"
    idle = "" if result.idle is None else f", others idle at most {result.idle:g} s"
    back = "" if result.back is None else f", host back after {result.back:g} s"
    work = f"{result.jobs} jobs in {result.seconds:g} s, {result.attempts_again} attempts again"
    work += f", {result.retries} submits repeated"
    return f"{result.name}: {zeros}; {work}{idle}{back}; {found.failures() or 'ok'} {result.other_answers or ''}"


if __name__ == "__main__":
    sys.exit(main())
