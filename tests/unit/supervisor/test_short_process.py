"""Calls in a short process: their results, and their errors as the supervisor raises them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from core.errors import InvalidInput, Unavailable
from supervisor.short_process import run_in_short_process


def test_the_result_comes_from_another_process() -> None:
    here = os.getpid()
    assert run_in_short_process(lambda: os.getpid() != here)
    assert not run_in_short_process(lambda: False)


@pytest.mark.parametrize("error", [Unavailable("It is damaged.", code="database_damaged"), InvalidInput("Wrong URL.")])
def test_an_error_keeps_its_message_code_and_exit_status(error: Unavailable | InvalidInput) -> None:
    def fail() -> bool:
        raise error

    with pytest.raises(type(error)) as raised:
        run_in_short_process(fail)
    assert (raised.value.message, raised.value.code) == (error.message, error.code)


def test_a_process_without_a_result_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="ended without a result"):
        run_in_short_process(lambda: bool(1 / 0))
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_the_supervisor_imports_no_database_library() -> None:
    code = "import sys, cli.up, supervisor.supervisor; print({'sqlalchemy', 'alembic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
