"""The engine: a process of its own that holds one pipeline and steps a batch; and the client that its worker speaks to.

`client` (parent side) imports no torch. `process` (child side) does.
"""
