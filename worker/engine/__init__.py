"""The engine: a process that holds one pipeline and steps micro-batches, and the client that its worker uses.

`client` (parent side) imports no torch. `process` (child side) does.
"""
