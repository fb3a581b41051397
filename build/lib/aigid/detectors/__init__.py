"""Detectors of generated images, one module or folder each."""
