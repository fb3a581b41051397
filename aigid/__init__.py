"""Detection of AI-generated images: `aigid.load("data/models/probe").predict("photo.jpg")`."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aigid.prediction.predict import Predictor


def load(folder: Path | str, **options: Any) -> "Predictor":
    """Return the predictor of a bundle's folder; ``options`` are those of `aigid.prediction.predict.open_bundle`."""
    predictor: Predictor = import_module("aigid.prediction.predict").open_bundle(folder, **options)
    return predictor
