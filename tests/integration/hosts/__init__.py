"""Farms on several hosts: network namespaces of this machine."""
