"""Install Python packages into an environment: with uv, which takes a tenth of pip's time, or else with pip.

Needs only the standard library. `packages.py PYTHON ARGUMENT...` takes the arguments of `pip install`. The version of uv
is the one in constraints.txt. uv does not read pip's configuration: it is used where all of that can be passed on.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
UV = ENVIRONMENT / "bin" / "uv"
_SAME_IN_UV = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraints",
    "trusted-host": "--allow-insecure-host",
    "only-binary": "--only-binary",
    "no-binary": "--no-binary",
}
"""Options of pip with one or more values -> those of uv."""
_VARIABLES = {"cert": "SSL_CERT_FILE", "timeout": "UV_HTTP_TIMEOUT", "default-timeout": "UV_HTTP_TIMEOUT"}
"""Options of pip -> environment variables of uv."""
_NOT_FOR_UV = {
    *("retries", "resume-retries", "cache-dir", "no-cache-dir", "disable-pip-version-check"),
    *("compile", "no-compile", "no-color", "no-input", "progress-bar", "quiet", "verbose", "log", "no-warn-script-location"),
    *("config-file", "require-virtualenv", "root-user-action", "break-system-packages"),
    *("user", "prefer-binary", "use-pep517"),
}
"""Options of pip that change nothing about what is installed."""


def install(python: Path, arguments: Sequence[str]) -> bool:
    """Install into the environment of this interpreter; return whether that succeeded. pip prints what is wrong."""
    if with_uv(python, arguments):
        return True
    # pip would compile every module of every package for a minute: few of them are ever imported.
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", *arguments]
    return subprocess.run(pip, cwd=ROOT, check=False).returncode == 0


def with_uv(python: Path, arguments: Sequence[str]) -> bool:
    """Install with uv, unless it is missing or pip's configuration has what it lacks; return whether that succeeded."""
    options = uv_options(pip_configuration(python))
    if options is None or not has_uv():
        return False
    # As pip does: the newest version in any index, and the system's certificates.
    command = [str(UV), "pip", "install", "--python", str(python), "--index-strategy", "unsafe-best-match", "--system-certs"]
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    done = subprocess.run([*command, *quiet, *options, *arguments], cwd=ROOT, check=False)
    if done.returncode != 0:
        print("imagefarm: uv could not install; trying pip", file=sys.stderr, flush=True)  # noqa: T201 -- a script
    return done.returncode == 0


def has_uv() -> bool:
    """Install uv if constraints.txt names a version and it is not there; return whether there is one."""
    if UV.exists():
        return True
    if not any(line.startswith("uv==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()):
        return False
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "-c", "constraints.txt", "uv"]
    return subprocess.run(pip, cwd=ROOT, stderr=subprocess.DEVNULL, check=False).returncode == 0


def pip_configuration(python: Path) -> dict[str, str] | None:
    """Return the options that pip's files and environment variables set for `pip install`; None when pip fails."""
    listed = subprocess.run(
        [str(python), "-m", "pip", "config", "list"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}  # later ones win
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in sections:
            sections[section][option] = str(ast.literal_eval(value))
    if listed.returncode != 0:
        return None
    return {option: value for section in sections.values() for option, value in section.items()}


def uv_options(configuration: dict[str, str] | None) -> list[str] | None:
    """Return options of uv for pip's; None when it lacks one of them, or they are unknown."""
    if configuration is None:
        return None
    options = []
    for name, value in configuration.items():
        if name in _SAME_IN_UV:
            options += [word for each in value.split() for word in (_SAME_IN_UV[name], each)]
        elif name == "no-index" and value.lower() in ("1", "yes", "true", "on"):
            options.append("--no-index")
        elif name in _VARIABLES:
            os.environ.setdefault(_VARIABLES[name], value)
        elif name not in _NOT_FOR_UV:
            return None
    return options


if __name__ == "__main__":
    sys.exit(0 if install(Path(sys.argv[1]), sys.argv[2:]) else 1)
