"""Other people's published detectors, made into bundles."""
