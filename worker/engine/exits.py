"""With which status an engine ends itself, and what that means."""

from __future__ import annotations

BROKEN_DEVICE = 70
HUNG = 71
MEANINGS = {
    BROKEN_DEVICE: "its device is beyond repair",
    HUNG: "a prompt or a picture beside the steps took too long",
}
