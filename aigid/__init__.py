"""Detection of AI-generated images: `aigid.load("data/models/probe").predict("photo.jpg")`."""

from importlib import import_module


def load(folder, **options):
    """Return the predictor of a bundle's folder; ``options`` are those of `aigid.prediction.predict.open_bundle`."""
    return import_module("aigid.prediction.predict").open_bundle(folder, **options)
