"""Stores behind `core.storage.store`: the S3-compatible one, the choice by URL, and the move between two."""
