"""Tests of imagefarm: unit, integration, e2e and gpu."""
