"""The model catalogue: data about every model the farm knows, validated without torch."""

from core.catalogue.auto import ResolvedModel, noise_notice, resolve_auto
from core.catalogue.catalogue import Catalogue, load_catalogue
from core.catalogue.model import CatalogueModel, Defaults, Limits, Lora, SchedulerChoice, Weights
from core.catalogue.places import Places
from core.catalogue.presence import Located, is_present, locate

__all__ = [
    "Catalogue",
    "CatalogueModel",
    "Defaults",
    "Limits",
    "Located",
    "Lora",
    "Places",
    "ResolvedModel",
    "SchedulerChoice",
    "Weights",
    "is_present",
    "load_catalogue",
    "locate",
    "noise_notice",
    "resolve_auto",
]
