"""Detection of AI-generated images: `aigid.load().predict("photo.jpg")`."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigid.prediction import DEFAULT_BUNDLE

if TYPE_CHECKING:
    from aigid.prediction.predict import Predictor


def load(folder: Path | str | None = None, **options: Any) -> "Predictor":
    """Return the predictor of a bundle's folder, by default the package's own.

    ``options`` are those of `aigid.prediction.predict.open_bundle`.
    """
    predictor: Predictor = import_module("aigid.prediction.predict").open_bundle(folder or DEFAULT_BUNDLE, **options)
    return predictor
