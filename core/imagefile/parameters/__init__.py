"""Read how an image was made, by any program that writes it into the file: a module for each program."""

from core.imagefile.parameters.found import FoundLora, FoundParameters
from core.imagefile.parameters.read import read_parameters

__all__ = ["FoundLora", "FoundParameters", "read_parameters"]
