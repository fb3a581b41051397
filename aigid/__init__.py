"""Detection of AI-generated images: `aigid.load("data/models/probe").predict("photo.jpg")`."""

from importlib import import_module


def load(folder, **options):
    """The bundle in a folder, an ``aigid.prediction.bundle.Bundle``; ``options`` are those of its ``open_bundle``."""
    return import_module("aigid.prediction.bundle").open_bundle(folder, **options)
