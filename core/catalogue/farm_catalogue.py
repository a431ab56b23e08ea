"""The catalogue of a running farm: shipped rows, the user's rows, and models found in the weights folders."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from core.catalogue.catalogue import Catalogue, CatalogueModel, load_catalogue
from core.catalogue.user_file import USER_FILE, UserRows, read_user_rows
from core.catalogue.weight_dirs import Scan, scan, state_of
from core.errors import InvalidInput
from core.settings import Settings

log = logging.getLogger(__name__)
RESCAN_SECONDS = 5.0
"""Weights folders may be large and on slow disks, so that they are looked at this often at most; models.toml at each use."""


class FarmCatalogue(Catalogue):
    """All models of a farm. `problems`: sentences about rows and folders that are left out."""

    def __init__(self, user_rows: UserRows, found: Scan) -> None:
        self.user_ids = frozenset(model.id for model in user_rows.models)
        self.found_ids = frozenset(model.row.id for model in found.models)
        self.scan = found
        self.problems = (*user_rows.problems, *found.problems)
        super().__init__([*load_catalogue(), *user_rows.models, *(model.row for model in found.models)])

    def get(self, name: str) -> CatalogueModel:
        """Return the model of that id or alias; the InvalidInput for an unknown name also says which rows are left out."""
        try:
            return super().get(name)
        except InvalidInput as error:
            if not self.problems:
                raise
            text = f"{error.message} {' '.join(self.problems)}"
            raise InvalidInput(text, field=error.field, code=error.code) from None

    def source_of(self, model_id: str) -> str:
        """Return where a row comes from: `shipped`, `added` (models.toml) or `found` (a weights folder)."""
        if model_id in self.user_ids:
            return "added"
        return "found" if model_id in self.found_ids else "shipped"


@dataclass
class _Known:
    catalogue: FarmCatalogue
    file: str
    file_state: object
    dirs_state: object
    looked_at: float


_known: dict[tuple[Path, tuple[Path, ...]], _Known] = {}
_lock = threading.Lock()


def catalogue_of(settings: Settings, *, fresh: bool = False) -> FarmCatalogue:
    """Return the farm's catalogue, read again when models.toml or the weights folders have changed.

    `fresh`: look at the weights folders now. Otherwise a thread does so every few seconds, since they may be on a slow
    disk and callers may serve requests; only the first call waits for it.
    """
    key = (settings.data_dir, tuple(settings.weights_dirs))
    known = _known.get(key)
    if known is None or fresh or known.file_state != _state(known.file):
        return _refresh(settings, key, look_again=fresh)
    if settings.weights_dirs and time.monotonic() - known.looked_at > RESCAN_SECONDS and not _lock.locked():
        known.looked_at = time.monotonic()
        threading.Thread(target=_refresh, args=(settings, key), name="weights folders", daemon=True).start()
    return known.catalogue


def _refresh(settings: Settings, key: tuple[Path, tuple[Path, ...]], *, look_again: bool = True) -> FarmCatalogue:
    """Read what has changed; with `look_again` false, folders that were looked at before are taken as they were."""
    with _lock:
        known = _known.get(key)
        file = settings.data_dir / USER_FILE
        file_state = _state(str(file))
        dirs_state = known.dirs_state if known and not look_again else state_of(settings)
        if known and (known.file_state, known.dirs_state) == (file_state, dirs_state):
            return known.catalogue
        rows = read_user_rows(file)
        catalogue = FarmCatalogue(rows, scan(settings, rows.models))
        _report(catalogue, known)
        _known[key] = _Known(catalogue, str(file), file_state, dirs_state, time.monotonic())
        return catalogue


def _state(file: str) -> object:
    try:
        found = os.stat(file)  # noqa: PTH116 -- for each request; a Path takes three times as long
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _report(catalogue: FarmCatalogue, before: _Known | None) -> None:
    """Log problems that are new, so that rows never disappear without a trace."""
    known = before.catalogue.problems if before else ()
    for problem in catalogue.problems:
        if problem not in known:
            log.warning(problem)
