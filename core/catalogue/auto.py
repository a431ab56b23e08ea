"""Resolve the model setting `auto`, and explain the choice to the user."""

from __future__ import annotations

from dataclasses import dataclass

from core.catalogue.catalogue import Catalogue, CatalogueModel, load_catalogue
from core.catalogue.model_paths import ModelPaths
from core.catalogue.presence import is_present, problems_of
from core.settings import Settings

PREFERRED, FALLBACK = "z-image-turbo", "demo"


@dataclass(frozen=True)
class ResolvedModel:
    """`explanation` is for people: why this model was chosen and how to get another; empty when the settings name it."""

    model: CatalogueModel
    explanation: str = ""


def resolve_auto(settings: Settings) -> ResolvedModel:
    """Return the model that the settings name. Weights of a named model are not checked.

    Raises InvalidInput for an unknown name.
    """
    catalogue = load_catalogue()
    if settings.model != "auto":
        model = catalogue.get(settings.model)
        return ResolvedModel(model, noise_notice(model))
    return _best_present(catalogue, ModelPaths.of(settings))


def _best_present(catalogue: Catalogue, model_paths: ModelPaths) -> ResolvedModel:
    preferred = catalogue.get(PREFERRED)
    if is_present(preferred, model_paths):
        return ResolvedModel(preferred)
    fallback = catalogue.get(FALLBACK)
    problems = problems_of(preferred, model_paths)
    what = f"cannot be loaded ({'; '.join(problems)})" if problems else "are not on this machine"
    why = f"The weights of {preferred.id} {what}, so the farm runs {fallback.id}."
    return ResolvedModel(fallback, f"{why} {noise_notice(fallback)}")


def noise_notice(model: CatalogueModel) -> str:
    """Return the notice to show next to images of a model with random weights; empty for trained models."""
    if not model.built_locally:
        return ""
    return (
        f"{model.id} has random weights: its images are noise. "
        f"`imagefarm models pull {PREFERRED}` downloads a trained model (about {_download_gigabytes():.0f} GB)."
    )


def _download_gigabytes() -> float:
    return load_catalogue().get(PREFERRED).weights.download_gigabytes
