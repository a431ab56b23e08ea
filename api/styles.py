"""Styles that a caller's jobs may name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from api.caller import Caller
from api.farm import Farm
from core.styles import BUILT_IN, Style
from core.styles.styles import choose_styles
from db.styles import list_styles
from db.tables import StyleRow


class StyleChoice:
    """The caller's styles, read from the database once, when the first one is named."""

    def __init__(self, farm: Farm, caller: Caller) -> None:
        self._database, self._owner = farm.database, caller.owner

    def named(self, names: Sequence[str]) -> list[Style]:
        """Return the styles of these names. Raises InvalidInput `unknown_style`."""
        return choose_styles(names, self.known)

    @cached_property
    def known(self) -> list[Style]:
        """All styles that the caller's jobs may name, in the order in which equal names win."""
        return [*map(style_of, list_styles(self._database, self._owner)), *BUILT_IN]


def style_of(row: StyleRow) -> Style:
    """Return the texts of a row."""
    return Style(row.name, row.prompt, row.negative_prompt)
