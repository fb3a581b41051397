"""On-disk layouts of datasets."""
