"""Print figures about the structure of the code: modules, lengths, duplicate stems, modules that one job runs through.

Run it with the standard library alone:

    python scripts/structure.py                              the working tree
    python scripts/structure.py --rev 079d170 --rev HEAD     revisions, side by side
    .venv/bin/python scripts/structure.py --job              plus the modules that one job runs through (runs a farm)
    .venv/bin/python scripts/structure.py --job --functions  plus the functions of these modules that it runs

A module is a Python file other than `__init__.py` in one of the packages that the project ships, without migrations. A
duplicate stem is the same file name twice in one package at the top level.

The modules that one job runs through are traced, not derived from imports. `--job` starts `imagefarm up` from the
measured revision on free ports, in a directory of its own, with the `demo` model on the CPU. When the workers are
ready it submits one job and polls until the job has ended. In that time `sys.setprofile` collects in every thread of
the API, the worker and the engine process which modules run a function, except functions that ran while the farm was
idle, such as those of heartbeats. Modules that only hold data (tables, schemas without functions) do not count. A second
figure leaves out functions that any request runs as well: those that ran while the idle farm was asked for the state of
its process (`GET /healthz`) and for a job that does not exist. The interpreter that runs the script must have the farm's
dependencies for this part.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("api", "app", "cli", "client", "core", "db", "imagefarm", "storage", "supervisor", "worker")
SHORT_LINES = 30
READY_SECONDS = 180.0
JOB_SECONDS = 120.0
IDLE_SECONDS = 15.0
"""Longer than the pause of any thread that always runs."""
NO_JOB = "01890000-0000-7000-8000-000000000000"
"""Id of no job."""
TRACED_PROCESSES = ("api", "worker", "engine")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a farm on loopback is never behind a proxy

TRACER = '''
"""Collect the code objects that run before and after the files of a directory appear. Loaded as `sitecustomize`."""
import json, os, sys, threading, time
from pathlib import Path

DIRECTORY = Path(os.environ["STRUCTURE_TRACE_DIR"])
codes = set()

def profile(frame, event, argument):
    if event == "call":
        codes.add(frame.f_code)
        if frame.f_code.co_name == "main" and frame.f_code.co_filename.endswith("cli/part.py"):
            begin()  # a part that was forked has none of its parent's threads

def until(name):
    """Return what ran until the file appeared, and collect anew."""
    while not (DIRECTORY / name).exists():
        time.sleep(0.02)
    ran = codes.copy()
    codes.clear()
    return ran

def watch():
    until("idle")
    idle, asked, ran = until("asked"), until("start"), until("stop")
    called = [[code.co_filename, code.co_flags, code.co_qualname, code in asked] for code in ran - idle]
    partial = DIRECTORY / f"{os.getpid()}.partial"
    command = Path("/proc/self/cmdline").read_text().replace("\\0", " ").split()
    partial.write_text(json.dumps({"command": command, "called": called}))
    partial.rename(DIRECTORY / f"{os.getpid()}.json")

watching = set()

def begin():
    if os.getpid() not in watching:
        watching.add(os.getpid())
        codes.clear()
        threading.Thread(target=watch, daemon=True).start()

begin()
threading.setprofile(profile)
sys.setprofile(profile)
'''
CO_OPTIMIZED = 0x1
"""Flag of a code object that belongs to a function, and not to the body of a module or class."""


@dataclass
class Figures:
    """What is known about one revision."""

    name: str
    lengths: dict[str, int]
    """Lines of each module, by its path."""
    duplicates: dict[str, list[str]] = field(default_factory=dict)
    """Paths that share a package and a stem, by `package/stem`."""
    job: dict[str, list[str]] | None = None
    """Modules that one job runs through and the functions of each that it runs, None when not traced."""
    any_request: frozenset[str] = frozenset()
    """Those of which a job runs only functions that any request runs."""

    def rows(self) -> dict[str, str]:
        """Return the figures as the cells of a table column."""
        lengths = list(self.lengths.values())
        cells = {
            "modules without `__init__`": str(len(lengths)),
            "median length, lines": f"{statistics.median(lengths):g}",
            "longest, lines": str(max(lengths)),
            f"modules below {SHORT_LINES} lines": str(sum(length < SHORT_LINES for length in lengths)),
            "stems used twice or more in one package": str(len(self.duplicates)),
            "files under such stems": str(sum(len(paths) for paths in self.duplicates.values())),
        }
        if self.job is not None:
            cells["modules that one job runs through, submit to poll"] = str(len(self.job))
            cells["of these, without those that any request runs through"] = str(len(self.job) - len(self.any_request))
        return cells


def main() -> None:
    parser = argparse.ArgumentParser(description="Print figures about the structure of the code.")
    parser.add_argument("--rev", action="append", default=[], help="git revision; repeatable; default: the working tree")
    parser.add_argument("--job", action="store_true", help="trace one job through a farm as well")
    parser.add_argument("--list", action="store_true", help="list duplicate stems and the modules that a job runs through")
    parser.add_argument("--functions", action="store_true", help="list the functions that a job runs, by module")
    arguments = parser.parse_args()
    measured = []
    for revision in arguments.rev or [None]:
        with _source(revision) as root:
            measured.append(measure(root, revision or "working tree", with_job=arguments.job))
    sys.stdout.write(_table(measured))
    if arguments.list:
        sys.stdout.write("".join(_details(figures) for figures in measured))
    if arguments.functions:
        sys.stdout.write("".join(_functions(figures) for figures in measured))


def measure(root: Path, name: str, *, with_job: bool) -> Figures:
    """Return the figures of the source tree at `root`."""
    modules = [
        path for package in PACKAGES for path in sorted((root / package).rglob("*.py")) if path.name != "__init__.py"
    ]  # fmt: skip
    lengths = {str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    by_stem = defaultdict(list)
    for path in lengths:
        by_stem[f"{Path(path).parts[0]}/{Path(path).stem}"].append(path)
    duplicates = {stem: paths for stem, paths in sorted(by_stem.items()) if len(paths) > 1}
    job, any_request = _trace_job(root) if with_job else (None, frozenset())
    return Figures(name, lengths, duplicates, job, any_request)


@contextlib.contextmanager
def _source(revision: str | None) -> Iterator[Path]:
    """Yield a directory with the files of a revision, or the working tree."""
    if revision is None:
        yield ROOT
        return
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory(prefix="structure-") as directory:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(directory, filter="data")
        yield Path(directory)


def _trace_job(root: Path) -> tuple[dict[str, list[str]], frozenset[str]]:
    """Run one job on a farm of the tree at `root` and return the functions that it runs, by the path of their module.

    Also return the paths of which it runs only functions that any request runs.
    """
    with tempfile.TemporaryDirectory(prefix="structure-farm-") as name:
        directory = Path(name)
        (directory / "sitecustomize.py").write_text(TRACER)
        port = _free_port()
        command = [sys.executable, "-m", "cli", "up", "--data-dir", str(directory / "data"), "--model", "demo"]
        command += ["--device", "cpu", "--port", str(port), "--flower-port", "0"]
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("IMAGEFARM_", "FLOWER_"))}
        paths = os.pathsep.join([str(directory), str(root)])
        extra = {"PYTHONPATH": paths, "STRUCTURE_TRACE_DIR": name, "HF_HUB_OFFLINE": "1"}
        with (directory / "log").open("wb") as log:
            farm = subprocess.Popen(command, cwd=directory, env={**kept, **extra}, stdout=log, stderr=log)
        try:
            _wait_ready(f"http://127.0.0.1:{port}")
            (directory / "idle").touch()
            time.sleep(IDLE_SECONDS)
            (directory / "asked").touch()
            time.sleep(0.5)
            _ask(f"http://127.0.0.1:{port}")
            (directory / "start").touch()
            time.sleep(0.5)
            _run_job(f"http://127.0.0.1:{port}")
            (directory / "stop").touch()
            time.sleep(3)
        except TimeoutError as error:
            raise SystemExit(f"{error}\n{(directory / 'log').read_text()[-3000:]}") from error
        finally:
            farm.send_signal(signal.SIGINT)
            farm.wait(60)
        reports = [json.loads(path.read_text()) for path in directory.glob("*.json")]
        ran = sorted({pair for report in reports for pair in _entered(report, root)})
        own = {path for report in reports for path, _ in _entered(report, root, with_any_request=False)}
        by_path = {path: [function for module, function in ran if module == path] for path, _ in ran}
        return by_path, frozenset(by_path.keys() - own)


def _entered(report: dict[str, Any], root: Path, *, with_any_request: bool = True) -> Iterator[tuple[str, str]]:
    """Yield module and name of the functions that one process ran; nothing for processes that a job does not run through.

    `with_any_request`: whether to include functions that any request runs.
    """
    words = [word.removeprefix("worker.") for word in report["command"]]
    if not any(process in words[1:] for process in TRACED_PROCESSES):
        return
    for file, flags, function, is_of_any_request in report["called"]:
        path = Path(file)
        if is_of_any_request and not with_any_request:
            continue
        if not flags & CO_OPTIMIZED or not path.is_relative_to(root):
            continue
        relative = path.relative_to(root)
        if relative.parts[0] in PACKAGES and relative.name != "__init__.py":
            yield str(relative), function


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            workers = _call(f"{url}/v1/workers")["items"]
            if workers and all(worker["state"] == "ready" for worker in workers):
                return
        time.sleep(0.5)
    raise TimeoutError(f"the farm was not ready after {READY_SECONDS:g} s")


def _ask(url: str) -> None:
    """Send requests that concern no job."""
    _call(f"{url}/healthz")
    with contextlib.suppress(urllib.error.HTTPError):
        _call(f"{url}/v1/jobs/{NO_JOB}?wait=1")


def _run_job(url: str) -> None:
    job = _call(f"{url}/v1/jobs", {"prompt": "a lighthouse at dusk", "width": 256, "height": 256, "num_inference_steps": 4})
    deadline = time.monotonic() + JOB_SECONDS
    while job["status"] in ("queued", "running"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the job was still {job['status']} after {JOB_SECONDS:g} s")
        job = _call(f"{url}/v1/jobs/{job['id']}?wait=10")
    if job["status"] != "succeeded":
        raise SystemExit(f"the job ended as {job['status']}: {job['error']}")


def _call(url: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 -- JSON
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 -- loopback
    with OPENER.open(request, timeout=30) as response:
        return json.load(response)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _table(measured: list[Figures]) -> str:
    columns = [figures.rows() for figures in measured]
    lines = [f"| | {' | '.join(figures.name for figures in measured)} |", "|---|" + "---|" * len(measured)]
    lines += [f"| {label} | {' | '.join(column[label] for column in columns)} |" for label in columns[0]]
    return "\n".join(lines) + "\n"


def _details(figures: Figures) -> str:
    lines = [f"\n{figures.name}: stems used twice or more in one package"]
    lines += [f"  {stem}: {', '.join(paths)}" for stem, paths in figures.duplicates.items()]
    if figures.job is not None:
        folders = Counter(
            "/".join(Path(path).parts[:2]) if len(Path(path).parts) > 2 else Path(path).parts[0] for path in figures.job
        )
        lines += [f"\n{figures.name}: modules that one job runs through, by folder"]
        lines += [f"  {folder}: {count}" for folder, count in sorted(folders.items())]
        lines += [f"\n{figures.name}: modules that one job runs through", *(f"  {path}" for path in figures.job)]
    return "\n".join(lines) + "\n"


def _functions(figures: Figures) -> str:
    lines = [f"\n{figures.name}: functions that one job runs"]
    lines += [f"  {path}: {', '.join(functions)}" for path, functions in (figures.job or {}).items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
