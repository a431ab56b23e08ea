"""Components from single files: ComfyUI's split files and the checkpoints of the original code."""

from worker.models.single_files.source import FileSource, load_component_file

__all__ = ["FileSource", "load_component_file"]
