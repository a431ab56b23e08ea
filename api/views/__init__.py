"""Conversion of database rows to the API's shapes."""
