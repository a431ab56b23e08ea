"""What can keep a farm from starting; each message says what to do about it."""

from __future__ import annotations

from core.errors import Conflict, Unavailable


class AlreadyRunning(Conflict):
    """Another `imagefarm up` owns this data directory."""

    code = "already_running"


class PortTaken(Unavailable):
    """Something else listens where a part of the farm should."""

    code = "port_taken"


class DataDirUnusable(Unavailable):
    """The data directory cannot be made or written."""

    code = "data_dir_unusable"
