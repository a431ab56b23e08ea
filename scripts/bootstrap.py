"""Makes `.venv` beside the project and installs it there with pinned dependencies; does nothing when that is done.

Runs on the standard library of any Python from 3.11 on: `bootstrap.py [EXTRA...]`, extras as in pyproject.toml.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)


def main() -> None:
    """Installs under a lock, so that two first starts do not meet in the same directory."""
    if sys.version_info < OLDEST:
        raise SystemExit(f"imagefarm needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    extras = sys.argv[1:]
    if is_installed(extras):
        return
    with (ROOT / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another start is installing here; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_installed(extras):
            install(extras)


def is_installed(extras: list[str]) -> bool:
    """Whether exactly these requirements were installed here, by the stamp that the last installation left."""
    try:
        return stamp(extras).read_text() == fingerprint() and PYTHON.exists()
    except OSError:
        return False


def install(extras: list[str]) -> None:
    """Makes the environment when there is no working one, then installs; the stamp comes last."""
    began = time.monotonic()
    if not works(PYTHON):
        say(f"making {VENV} with Python {sys.version.split()[0]}")
        run([sys.executable, "-m", "venv", "--clear", str(VENV)], NO_VENV)
    say("installing pinned dependencies (the first time downloads PyTorch: a few minutes)")
    wanted = f".[{','.join(extras)}]" if extras else "."
    run([str(PYTHON), "-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", wanted], NO_INSTALL)
    for each in {stamp([]), stamp(extras)}:
        each.write_text(fingerprint())
    say(f"installed in {time.monotonic() - began:.0f} s")


def stamp(extras: list[str]) -> Path:
    return VENV / f".installed-{'-'.join(['base', *sorted(extras)])}"


def fingerprint() -> str:
    """Changes when the requirements do, or when the project has moved."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def works(python: Path) -> bool:
    """A virtual environment half made, or made by a Python since removed, does not."""
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([str(python), "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(command: list[str], advice: str) -> None:
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise SystemExit(f"imagefarm: {advice}")


def say(message: str) -> None:
    print(f"imagefarm: {message}", file=sys.stderr, flush=True)  # noqa: T201 -- a script


NO_VENV = "the virtual environment could not be made. On Debian and Ubuntu: apt install python3-venv"
NO_INSTALL = (
    "the dependencies could not be installed; pip says why above. "
    "Running this again goes on where it stopped; a proxy or another index is set up as for any pip."
)

if __name__ == "__main__":
    main()
