"""Text of the process's streams and file names, whatever the locale."""

from __future__ import annotations

import codecs
import io
import os
import sys


def restart_in_utf8() -> None:
    """Run this command line again in Python's UTF-8 mode, if the locale would limit file names to ASCII.

    That takes a locale such as C and settings that turn off Python's own remedies. Child processes inherit the mode.
    """
    if sys.flags.utf8_mode or codecs.lookup(sys.getfilesystemencoding()).name != "ascii":
        return
    environment = {**os.environ, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)  # noqa: S606


def print_any_text() -> None:
    """Let a terminal that lacks a character, such as `…` in ASCII, show its code instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
