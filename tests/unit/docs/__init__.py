"""Tests of the documents: links, file names, words."""
