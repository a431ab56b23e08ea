"""The model catalogue: data about every supported model, validated without torch."""

from core.catalogue.catalogue import (
    GUIDANCE_OFF,
    Catalogue,
    CatalogueModel,
    Defaults,
    Limits,
    Lora,
    SchedulerChoice,
    Weights,
    load_catalogue,
    noise_notice,
)
from core.catalogue.farm_catalogue import FarmCatalogue, catalogue_of
from core.catalogue.model_paths import ModelPaths
from core.catalogue.presence import (
    LocatedWeights,
    ResolvedModel,
    is_present,
    locate,
    resolve_auto,
    served_models,
)

__all__ = [
    "GUIDANCE_OFF",
    "Catalogue",
    "CatalogueModel",
    "Defaults",
    "FarmCatalogue",
    "Limits",
    "LocatedWeights",
    "Lora",
    "ModelPaths",
    "ResolvedModel",
    "SchedulerChoice",
    "Weights",
    "catalogue_of",
    "is_present",
    "load_catalogue",
    "locate",
    "noise_notice",
    "resolve_auto",
    "served_models",
]
