"""List a hub repository and select the files that a pull downloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.catalogue.model_folder import INDEX_FILE, UNUSED_COMPONENTS
from core.catalogue.weight_names import choose_set
from core.errors import FarmError, Forbidden, NotFound, Unavailable

OTHER_WEIGHTS = frozenset({".msgpack", ".onnx", ".onnx_data", ".h5", ".ckpt", ".pt", ".pth", ".gguf", ".xml", ".pb"})
"""Suffixes of weights for other programs."""


@dataclass(frozen=True)
class RemoteFile:
    """`sha256` is known for large files only."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class RemoteRepo:
    """`revision` is a commit, so that a download resumed later gets the same files."""

    name: str
    revision: str
    files: tuple[RemoteFile, ...]

    def file(self, path: str) -> RemoteFile:
        """Return the file at that path; raise NotFound when the repository has none."""
        for file in self.files:
            if file.path == path:
                return file
        raise NotFound(f"The repository {self.name} has no {path}.", code="hub_not_found")


@dataclass(frozen=True)
class Hub:
    """Location of the hub. Empty endpoint: huggingface_hub's default (HF_ENDPOINT, else huggingface.co)."""

    endpoint: str = ""

    def list(self, repo: str, revision: str | None) -> RemoteRepo:
        """List the files of the repository at a revision; raises a FarmError that states the remedy."""
        from huggingface_hub import HfApi

        try:
            info = HfApi(endpoint=self.endpoint or None).model_info(repo, revision=revision, files_metadata=True)
        except Exception as error:
            raise explain(error, repo) from error
        files = (RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None) for s in info.siblings or ())
        return RemoteRepo(repo, info.sha or revision or "main", tuple(files))

    def url(self, repo: RemoteRepo, path: str) -> str:
        """Return the download URL of a file."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(repo.name, path, revision=repo.revision, endpoint=self.endpoint or None)

    def headers(self) -> dict[str, str]:
        """Return the headers of the user's token, if one is stored (`hf auth login` or HF_TOKEN)."""
        from huggingface_hub import get_token

        token = get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}


def explain(error: Exception, repo: str) -> FarmError:
    """Convert an error of huggingface_hub to a FarmError; unknown types count as network errors."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return Forbidden(
            f"{repo} is gated: accept its licence on the hub, then run `hf auth login` or set HF_TOKEN.",
            code="hub_refused",
        )
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        return NotFound(f"The hub has no {repo} at that revision, or it is private.", code="hub_not_found")
    if isinstance(error, OfflineModeIsEnabled):
        return unreachable("HF_HUB_OFFLINE is set")
    if isinstance(error, HfHubHTTPError):
        return unreachable(f"it returned {error.response.status_code} for {repo}")
    return unreachable(str(error) or type(error).__name__)


def unreachable(why: str) -> Unavailable:
    """Build the error of a hub that cannot be reached now."""
    return Unavailable(
        f"The hub cannot be reached ({why}). Check the network, set HF_ENDPOINT to a mirror, or import a folder that "
        "you copied to this machine: `imagefarm models pull MODEL --from PATH`.",
        code="hub_unavailable",
    )


def select(paths: Iterable[str], index: Mapping[str, object], variant: str | None) -> list[str]:
    """Select the paths to download, given the content of the repository's model_index.json."""
    used = {name for name, value in index.items() if isinstance(value, list) and value[0] and name not in UNUSED_COMPONENTS}
    by_folder: dict[str, list[str]] = {}
    chosen = [INDEX_FILE]
    for path in map(PurePosixPath, paths):
        if len(path.parts) == 2 and path.parts[0] in used:
            by_folder.setdefault(path.parts[0], []).append(path.name)
        elif len(path.parts) == 1 and path.name.upper().startswith("LICENSE"):
            chosen.append(path.name)
    for folder, names in sorted(by_folder.items()):
        chosen += [f"{folder}/{name}" for name in select_in_folder(names, variant)]
    return chosen


def select_in_folder(names: Iterable[str], variant: str | None) -> list[str]:
    """Select files of one component: one set of weights, and all files that are not weights."""
    names = sorted(names)
    weights = [found.name for found in choose_set(names, variant)]
    return [*(name for name in names if not _is_weights(name)), *weights]


def _is_weights(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix in OTHER_WEIGHTS or bool(choose_set([name], None)) or ".index." in name
