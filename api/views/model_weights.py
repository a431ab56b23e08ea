"""State of a model's weights on the API's own disk."""

from __future__ import annotations

from core.catalogue import CatalogueModel, ModelPaths, locate
from core.catalogue.model_folder import read_marker, size_of
from core.catalogue.presence import problems_of
from core.errors import RenderError
from core.schemas.models import ModelWeights


def weights_view(model: CatalogueModel, model_paths: ModelPaths) -> ModelWeights:
    """Look for the weights as a worker on this machine would; only names, sizes and headers are read."""
    try:
        located = locate(model, model_paths)
    except RenderError as error:
        return ModelWeights(present=False, problems=problems_of(model, model_paths), missing=error.message)
    except OSError as error:
        return ModelWeights(present=False, problems=[f"The disk refused: {error.strerror or error}."])
    if problems := problems_of(model, model_paths):
        return ModelWeights(present=False, problems=problems)
    if located.files:
        size = sum(path.stat().st_size for path in set(located.files.values()))
    else:
        marker = read_marker(located.directory)
        size = marker.size_bytes if marker else size_of(located.directory)
    return ModelWeights(present=True, origin=located.origin, size_bytes=size, problems=[])
