"""The guide of the page names every key that the page's own list shows."""

from __future__ import annotations

import re

from tests.servers.farm import ROOT


def test_the_guide_names_every_key_of_the_page() -> None:
    source = (ROOT / "web" / "js" / "shortcuts.js").read_text(encoding="utf-8")
    shown = re.findall(r'\["([^"]+)", "[\w.]+"\]', source.partition("KEYS = [")[2].partition("];\n")[0])
    keys = {key for keys in shown for key in keys.split() if re.fullmatch(r"[A-Za-z0-9?+−]+", key)}
    assert {"u", "d", "i", "+", "−", "g", "Esc"} <= keys
    guide = (ROOT / "docs" / "guides" / "page.md").read_text(encoding="utf-8")
    named = {key for words in re.findall(r"`([^`]+)`", guide) for key in words.split()}
    assert keys - named == set()
