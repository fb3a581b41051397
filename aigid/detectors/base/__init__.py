"""What all detectors share: the protocol, their names, the rows they learn from, models on disk, scores."""
