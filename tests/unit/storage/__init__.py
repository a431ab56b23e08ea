"""Tests of the image store and of export."""
