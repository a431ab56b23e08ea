"""Files of the weights folders by the names under which the API lists them, so that no name of a request becomes a path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.catalogue.farm_catalogue import FarmCatalogue
from core.catalogue.weight_dirs import WeightFolder
from core.catalogue.weight_file import WeightFile
from core.errors import InvalidInput
from core.settings import Settings


@dataclass(frozen=True)
class ListedFile:
    """A weight file; `path` is relative to `root`, one of the weights folders. `models`: ids of models that use it."""

    file: WeightFile
    purpose: WeightFolder
    root: Path
    path: str
    models: tuple[str, ...]


def list_files(settings: Settings, catalogue: FarmCatalogue) -> list[ListedFile]:
    """Return every file of the weights folders, by purpose and path."""
    users: dict[Path, list[str]] = {}
    for model in catalogue:
        for path in set(model.files.values()):
            users.setdefault(path, []).append(model.id)
    found = []
    for purpose, files in catalogue.scan.files.items():
        for file in files:
            root = next((root for root in settings.weights_dirs if root in file.path.parents), None)
            if root is not None:
                name = file.path.relative_to(root).as_posix()
                found.append(ListedFile(file, purpose, root, name, tuple(users.get(file.path, ()))))
    return found


def find_listed(files: Iterable[ListedFile], name: str, field: str) -> Path:
    """Return the file of that path, or of that file name where only one has it.

    Raises InvalidInput `file_not_listed` for every other text, whether or not such a file exists.
    """
    files = list(files)
    absolute = {str(each.file.path): {each.file.path} for each in files}
    for names in (absolute, _by(files, whole=True), _by(files, whole=False)):
        paths = names.get(name, set())
        if len(paths) == 1:
            return next(iter(paths))
        if paths:
            listed = ", ".join(sorted(str(path) for path in paths))
            message = f"Several files are called {name}: send one of {listed}."
            raise InvalidInput(message, field=field, code="file_not_listed")
    raise InvalidInput(
        "There is no such file among those that GET /v1/models/files lists: put it into a folder of IMAGEFARM_WEIGHTS_DIRS "
        "that the API's machine can read, or run `imagefarm models add` on the machine that holds it.",
        field=field,
        code="file_not_listed",
    )


def _by(files: list[ListedFile], *, whole: bool) -> dict[str, set[Path]]:
    """Map relative paths (`whole`) or file names to files."""
    names: dict[str, set[Path]] = {}
    for each in files:
        names.setdefault(each.path if whole else each.file.path.name, set()).add(each.file.path)
    return names
