"""NYCU's five-channel network (arXiv 2503.10718): RGB, autoencoder error and spectrum through an EfficientNet."""
