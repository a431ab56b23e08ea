"""`imagefarm doctor`: find what keeps a farm from running on this machine, with advice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from cli.exit_codes import ExitCode
from cli.options import AsJson, load_private_settings
from core.extras import is_installed, require_extras
from core.settings import Settings

if TYPE_CHECKING:
    from worker.models.doctor import Check

MARKS = {"ok": ("green", "ok"), "warning": ("yellow", "note"), "problem": ("red", "FAIL")}


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Start here")(doctor)


def doctor(as_json: AsJson = False) -> int:
    """Check this machine: Python, libraries, devices, disk, weights, ports, database and Redis.

    Checks what the installed parts need. Exit code 1 when something is broken; notes alone end with 0.
    """
    settings = load_private_settings()
    found: list[Check] = []
    for checks in _checks_of_installed_parts():
        for check in checks(settings):
            found.append(check)
            if not as_json:
                _show(check)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], ensure_ascii=False))
    return ExitCode.FAILED if any(check.status == "problem" for check in found) else ExitCode.OK


def _checks_of_installed_parts() -> list[Callable[[Settings], Iterator[Check]]]:
    """Return the checks whose extra is installed. Raises MissingExtra when neither is."""
    has_server, has_worker = is_installed("server"), is_installed("worker")
    if not has_server and not has_worker:
        require_extras("server", "worker")
    checks: list[Callable[[Settings], Iterator[Check]]] = []
    if has_server:
        from cli.doctor_checks import farm_checks

        checks.append(farm_checks)
    if has_worker:
        from worker.models.doctor import run_checks

        checks.append(run_checks)
    return checks


def _show(check: Check) -> None:
    colour, mark = MARKS[check.status]
    typer.echo(f"{typer.style(f'{mark:<5}', fg=colour)} {check.name:<12} {check.detail}")
    if check.advice:
        typer.echo(f"{'':<18} {check.advice}")
