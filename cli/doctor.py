"""`imagefarm doctor`: what could keep a farm from running on this machine, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import ExitCode
from cli.options import load_settings

if TYPE_CHECKING:
    from worker.models.doctor import Check

MARKS = {"ok": ("green", "ok"), "warning": ("yellow", "note"), "problem": ("red", "FAIL")}


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Start here")(doctor)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> int:
    """Check this machine: Python, libraries, devices, disk, weights, ports, database and Redis.

    Exit code 1 when something is broken; notes alone are fine.
    """
    from cli.doctor_checks import farm_checks
    from worker.models.doctor import run_checks

    settings = load_settings()
    found: list[Check] = []
    for checks in (farm_checks, run_checks):
        for check in checks(settings):
            found.append(check)
            if not as_json:
                _show(check)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], ensure_ascii=False))
    return ExitCode.FAILED if any(check.status == "problem" for check in found) else ExitCode.OK


def _show(check: Check) -> None:
    colour, mark = MARKS[check.status]
    typer.echo(f"{typer.style(f'{mark:<5}', fg=colour)} {check.name:<12} {check.detail}")
    if check.advice:
        typer.echo(f"{'':<18} {check.advice}")
