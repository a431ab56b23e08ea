"""Choose the implementation of a model family."""

from __future__ import annotations

from worker.pipelines.family import AnyFamily, FamilyContext


def make_family(loaded: FamilyContext) -> AnyFamily:
    """Return the family of the model's catalogue row over its loaded pipeline; only that family's code is imported."""
    match loaded.model.family:
        case "z-image":
            from worker.pipelines.z_image.family import ZImageFamily

            return ZImageFamily(loaded)
        case "stable-diffusion":
            from worker.pipelines.stable_diffusion.family import StableDiffusionFamily

            return StableDiffusionFamily(loaded)
        case "stock":
            from worker.pipelines.stock.family import StockFamily

            return StockFamily(loaded)
