"""Configurations and tokenizers of every architecture, shipped so that no load needs a hub."""

from core.catalogue.configs.folder import config_folder

__all__ = ["config_folder"]
