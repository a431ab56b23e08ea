"""ComfyUI face: its HTTP calls and web socket over the same queue, for graphs of standard nodes."""
