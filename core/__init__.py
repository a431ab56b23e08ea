"""Shared by all packages: settings, errors, lifecycle, parameters, catalogue, queue contract, image files."""
