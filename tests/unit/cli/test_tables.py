"""Tables of lists in the terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cli.nodes import _show as show_nodes
from cli.workers import _show as show_workers
from core.schemas.nodes import Node
from core.schemas.workers import Worker

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def worker(device: str, info: dict[str, Any]) -> Worker:
    return Worker(
        name="studio", state="ready", live=True, message=None, host="studio", version="0.1.0", model="demo", device=device,
        capacity=4, running=0, info=info, started_at=NOW, seen_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("device", "info", "shown"),
    [
        ("auto", {"device_name": "NVIDIA H200"}, "NVIDIA H200"),
        ("cuda:1", {"device_name": "NVIDIA H200"}, "NVIDIA H200 (cuda:1)"),
        ("auto", {"device_name": "auto"}, "auto"),
        ("cpu", {}, "cpu"),
    ],
)
def test_lists_of_workers_name_the_device_that_auto_found(
    device: str, info: dict[str, Any], shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    found = worker(device, info)
    show_workers([found])
    assert f"ready  {shown}  " in capsys.readouterr().out
    show_nodes([Node(name="studio", state="ready", running=0, versions=["0.1.0"], workers=[found])])
    assert f"ready  {shown}  " in capsys.readouterr().out
