"""The model catalogue: data about every model the farm knows, validated without torch."""

from core.catalogue.catalogue import Catalogue, load_catalogue
from core.catalogue.model import CatalogueModel, Defaults, Limits, Lora, SchedulerChoice, Weights

__all__ = [
    "Catalogue",
    "CatalogueModel",
    "Defaults",
    "Limits",
    "Lora",
    "SchedulerChoice",
    "Weights",
    "load_catalogue",
]
