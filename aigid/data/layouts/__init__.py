"""One small file for each on-disk layout of a dataset."""
