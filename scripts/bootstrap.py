"""Create `.venv` in the project and install the project there with pinned dependencies, unless that is done.

Needs only the standard library of Python 3.11 or newer. `bootstrap.py [GROUP...]` installs the extra `all` and the named
dependency groups of pyproject.toml, such as `dev`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import packages

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)


def main() -> None:
    """Install under a lock, so that two starts do not install into the same directory at once."""
    if sys.version_info < OLDEST:
        raise SystemExit(f"imagefarm needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    groups = sys.argv[1:]
    if is_installed(groups):
        return
    with (ROOT / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print_message("another start is installing; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_installed(groups):
            install(groups)


def is_installed(groups: list[str]) -> bool:
    """Return whether exactly these requirements are installed, by the stamp of the last installation."""
    try:
        return stamp(groups).read_text() == fingerprint() and PYTHON.exists()
    except OSError:
        return False


def install(groups: list[str]) -> None:
    """Create the environment if there is no working one, install, then write the stamp."""
    started = time.monotonic()
    wanted = requirements(groups)
    if not works(PYTHON):
        print_message(f"creating {VENV} with Python {sys.version.split()[0]}")
        run([sys.executable, "-m", "venv", "--clear", str(VENV)], NO_VENV)
    print_message("installing pinned dependencies (the first time downloads PyTorch: a few minutes)")
    if not packages.install(PYTHON, ["-c", "constraints.txt", "-e", ".[all]", *wanted]):
        raise SystemExit(f"imagefarm: {NO_INSTALL}")
    compile_what_starts()
    for each in {stamp([]), stamp(groups)}:
        each.write_text(fingerprint())
    print_message(f"installed in {time.monotonic() - started:.0f} s")


def compile_what_starts() -> None:
    """Import what a farm's start does, so that it finds compiled modules. Failures show when the farm starts."""
    engine, ours = socket.socketpair()
    ours.close()  # An engine whose worker has ended imports its libraries and ends.
    commands = (
        ("-m", "worker.engine", str(engine.fileno()), "--import"),
        ("-c", "import supervisor.supervisor, cli.serve, supervisor.flower.main"),
        ("-c", "import worker.worker_process, worker.reaper.main"),
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with engine, contextlib.suppress(OSError):
        started = [
            subprocess.Popen(
                [str(PYTHON), "-P", *command],
                cwd=ROOT,
                env=environment,
                pass_fds=[engine.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for command in commands
        ]
        for each in started:
            each.wait()


def requirements(groups: list[str]) -> list[str]:
    """Return the requirements of dependency groups; the pip of a new Python 3.11 environment has no `--group`."""
    import tomllib  # not at the top: an older Python must get as far as the message in `main`

    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")).get("dependency-groups", {})
    unknown = [group for group in groups if group not in known]
    if unknown:
        raise SystemExit(f"imagefarm: pyproject.toml has no dependency group '{unknown[0]}'. It has: {', '.join(known)}.")
    return [requirement for group in groups for requirement in known[group]]


def stamp(groups: list[str]) -> Path:
    return VENV / f".installed-{'-'.join(['all', *sorted(groups)])}"


def fingerprint() -> str:
    """Return a digest that changes with the requirements and with the project's path."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def works(python: Path) -> bool:
    """Return whether the interpreter runs; that of an incomplete environment, or of a removed Python, does not."""
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([str(python), "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(command: list[str], advice: str) -> None:
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise SystemExit(f"imagefarm: {advice}")


def print_message(message: str) -> None:
    print(f"imagefarm: {message}", file=sys.stderr, flush=True)  # noqa: T201 -- a script


NO_VENV = "could not create the virtual environment. On Debian and Ubuntu: apt install python3-venv"
NO_INSTALL = (
    "could not install the dependencies; see pip's message above. "
    "Run this again to retry. Configure a proxy or another index as for any pip."
)

if __name__ == "__main__":
    main()
