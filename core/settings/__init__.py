"""All settings: environment variables `IMAGEFARM_*`, or a `.env` file in the working directory."""

from core.settings.settings import Settings

__all__ = ["Settings"]
