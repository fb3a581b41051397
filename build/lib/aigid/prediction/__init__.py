"""From images to verdicts: inspect, score, decide."""

from pathlib import Path

DEFAULT_BUNDLE = Path(__file__).parent / "bundles" / "photos"  # trained on real photographs; ships with the package
EXPORTED = ".onnx"  # the suffix of a bundle that is one file
