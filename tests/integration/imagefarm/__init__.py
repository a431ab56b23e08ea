"""FIXME package docstring"""
