"""Fixtures for the tests of normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.catalogue import CatalogueModel, load_catalogue
from core.parameters import InitImage, MaskImage, Normalised, RequestLimits, normalise
from core.schemas.jobs import JobRequest

Normalise = Callable[..., Normalised]


def model(name: str) -> CatalogueModel:
    return load_catalogue().get(name)


@pytest.fixture
def normalised() -> Normalise:
    """Return a function that normalises a request for a model of the catalogue."""

    def make(
        name: str = "demo",
        init_image: InitImage | None = None,
        mask: MaskImage | None = None,
        **fields: Any,  # noqa: ANN401
    ) -> Normalised:
        uploads = {"init_image": init_image, "mask": mask}
        start = {field: upload.upload_id for field, upload in uploads.items() if upload}
        request = JobRequest.model_validate({"prompt": "a red fox", **start, **fields})
        return normalise(request, model(name), RequestLimits(10_000, 16), init_image, mask)

    return make
