"""Show what a farm reports in the terminal, again and again, until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from core.errors import Unavailable


def show_live(draw: Callable[[], RenderableType], every: float) -> None:
    """Draw every `every` seconds. The first call of `draw` may raise Unavailable; later, its message is shown instead."""
    console = Console()
    try:
        with Live(draw(), console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                time.sleep(every)
                live.update(_drawn(draw), refresh=True)
    except KeyboardInterrupt:
        return


def _drawn(draw: Callable[[], RenderableType]) -> RenderableType:
    try:
        return draw()
    except Unavailable as error:
        return Text(error.message, style="red")
