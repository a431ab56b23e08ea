"""Tables of lists in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from core.schemas.workers import Worker


def folded_table(*headings: str) -> Table:
    """Return a table whose long cells go on in the next line, so that nothing is lost in a pipe."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def cut_table(*headings: str) -> Table:
    """Return a table as wide as the terminal whose rows are one line each, for what is drawn again and again."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for heading in headings:
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    return table


def device_of(worker: Worker) -> str:
    """Return what the worker renders on, such as `NVIDIA H200 (cuda:1)`, or `auto` until it knows."""
    name = worker.info.get("device_name")
    if not name or name == worker.device:
        return worker.device
    return name if worker.device == "auto" else f"{name} ({worker.device})"
