"""Styles that a caller's jobs may name."""

from __future__ import annotations

from collections.abc import Sequence

from api.caller import Caller
from api.farm import Farm
from core.styles import BUILT_IN, Style
from core.styles.styles import choose_styles
from db.styles import list_styles
from db.tables import StyleRow


class StyleChoice:
    """The caller's styles; each is read from the database once, when it is named."""

    def __init__(self, farm: Farm, caller: Caller) -> None:
        self._database, self._owner = farm.database, caller.owner
        self._read: dict[str, list[Style]] = {}

    def named(self, names: Sequence[str]) -> list[Style]:
        """Return the styles of these names. Raises InvalidInput `unknown_style`."""
        if new := [name for name in dict.fromkeys(names) if name not in self._read]:
            found = self._with_built_in(new)
            self._read |= {name: [style for style in found if style.name == name] for name in new}
        if not all(self._read[name] for name in names):
            return choose_styles(names, self.known)  # its error lists the known styles
        return choose_styles(names, [style for name in names for style in self._read[name]])

    @property
    def known(self) -> list[Style]:
        """All styles that the caller's jobs may name, in the order in which equal names win."""
        return self._with_built_in(None)

    def _with_built_in(self, names: Sequence[str] | None) -> list[Style]:
        return [*map(style_of, list_styles(self._database, self._owner, names)), *BUILT_IN]


def style_of(row: StyleRow) -> Style:
    """Return the texts of a row."""
    return Style(row.name, row.prompt, row.negative_prompt)
